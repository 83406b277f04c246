#pragma once
#include "xnn_emulator/half.h"
