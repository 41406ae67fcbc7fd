// Command foreign says for which processor it was built, its arguments, and what
// has become of the file that is the last of them. It is the program that a guest
// runs by an interpreter, and such an interpreter.
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
