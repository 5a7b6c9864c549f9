// Asks with Go's own resolver: prints the first IPv4 address of a name.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	found, err := net.DefaultResolver.LookupIP(context.Background(), "ip4", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(found[0])
}
