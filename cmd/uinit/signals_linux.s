#include "textflag.h"

// ignored is a signal handler that returns.
TEXT ·ignored(SB), NOSPLIT|NOFRAME, $0-0
	RET

DATA ·ignoredAddress(SB)/8, $·ignored(SB)
GLOBL ·ignoredAddress(SB), NOPTR|RODATA, $8
