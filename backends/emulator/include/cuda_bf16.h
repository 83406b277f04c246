#pragma once
#include "xnn_emulator/bfloat16.h"
