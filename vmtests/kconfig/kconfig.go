package kconfig

import "strings"

// Config is a kernel's configuration: the value of each symbol that has one. The symbols are without CONFIG_.
type Config map[string]string

// Parse reads a configuration or a fragment of one. A symbol that is "not set" has no value, nor has one that is not there:
// to the kernel they are the same.
func Parse(text string) Config {
	c := Config{}
	for line := range strings.Lines(text) {
		symbol, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if symbol, isSymbol := strings.CutPrefix(symbol, "CONFIG_"); ok && isSymbol {
			c[symbol] = value
		}
	}
	return c
}

// BuiltIn says whether the kernel itself has what the symbol stands for.
func (c Config) BuiltIn(symbol string) bool {
	return c[symbol] == "y"
}
