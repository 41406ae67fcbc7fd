#include "textflag.h"

// func forkChain(n int, w uintptr, end *byte) (result int)
//
// R19, R20 and R21 hold the arguments, because no child may touch the stack. R22
// is 1 in a process of the chain and 0 in the caller.
TEXT ·forkChain(SB), NOSPLIT|NOFRAME, $0-32
	MOVD n+0(FP), R19
	MOVD w+8(FP), R20
	MOVD end+16(FP), R21
	MOVD ZR, R22

fork:
	MOVD $0x111, R0 // CLONE_VM|SIGCHLD
	MOVD ZR, R1     // the same stack
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $220, R8   // clone
	SVC
	CBZ  R0, child
	CBNZ R22, exit  // after the fork, even if it failed
	MOVD R0, result+24(FP)
	RET

child:
	MOVD $1, R22
	SUBS $1, R19, R19
	BPL  fork
	MOVD R20, R0
	MOVD R21, R1
	MOVD $1, R2
	MOVD $64, R8    // write
	SVC

exit:
	MOVD ZR, R0
	MOVD $94, R8    // exit_group
	SVC
	JMP  exit
