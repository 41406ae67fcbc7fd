#include "textflag.h"

// func forkChain(n int, w uintptr, end *byte) (result int)
//
// R12, R13 and R9 hold the arguments, because no child may touch the stack. BX
// is 1 in a process of the chain and 0 in the caller.
TEXT ·forkChain(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ n+0(FP), R12
	MOVQ w+8(FP), R13
	MOVQ end+16(FP), R9
	XORQ BX, BX

fork:
	MOVQ $0x111, DI // CLONE_VM|SIGCHLD
	XORQ SI, SI     // the same stack
	XORQ DX, DX
	XORQ R10, R10
	XORQ R8, R8
	MOVQ $56, AX    // clone
	SYSCALL
	TESTQ AX, AX
	JZ    child
	TESTQ BX, BX
	JNZ   exit      // after the fork, even if it failed
	MOVQ AX, result+24(FP)
	RET

child:
	MOVQ $1, BX
	SUBQ $1, R12
	JNS  fork
	MOVQ R13, DI
	MOVQ R9, SI
	MOVQ $1, DX
	MOVQ $1, AX     // write
	SYSCALL

exit:
	XORQ DI, DI
	MOVQ $231, AX   // exit_group
	SYSCALL
	JMP  exit
