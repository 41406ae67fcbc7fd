// Command foreign prints the architecture it was built for, its arguments, and the error
// of a stat of its last argument. Guests run it through an interpreter, and as an
// interpreter.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	_, err := os.Stat(os.Args[len(os.Args)-1])
	fmt.Println(runtime.GOARCH, os.Args, err)
}
