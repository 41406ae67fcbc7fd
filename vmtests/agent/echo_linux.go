package main

import (
	"bufio"
	"fmt"
	"net"
)

// Echo listens on a TCP address and answers each line, until the agent ends.
func (g *Guest) Echo(address string, _ *struct{}) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // a test's connection
				for in := bufio.NewScanner(conn); in.Scan(); {
					if _, err := fmt.Fprintln(conn, "echo", in.Text()); err != nil {
						return
					}
				}
			}()
		}
	}()
	return nil
}
