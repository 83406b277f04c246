// All that a kernel sees without including anything, as NVRTC provides it. Included before the kernel's source.
#pragma once

// C's headers alone: those of C++ would take longer to read than most kernels.
#define _GLIBCXX_INCLUDE_NEXT_C_HEADERS 1
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#undef _GLIBCXX_INCLUDE_NEXT_C_HEADERS

#include "xnn_emulator/thread.h"
#include "xnn_emulator/traits.h"
// one after another: later ones use earlier ones
#include "xnn_emulator/qualifiers.h"
#include "xnn_emulator/vectors.h"
#include "xnn_emulator/bits.h"
#include "xnn_emulator/integers.h"
#include "xnn_emulator/mathematics.h"
#include "xnn_emulator/conversions.h"
#include "xnn_emulator/barriers.h"
#include "xnn_emulator/warps.h"
#include "xnn_emulator/atomics.h"
#include "xnn_emulator/loads.h"
#include "xnn_emulator/kernels.h"
