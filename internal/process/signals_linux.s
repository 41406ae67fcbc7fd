#include "textflag.h"

// handler is a signal handler that returns.
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0-0
	RET

DATA ·ignored(SB)/8, $·handler(SB)
GLOBL ·ignored(SB), NOPTR|RODATA, $8
