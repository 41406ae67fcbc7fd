package kconfig

import "strings"

// Config is a kernel's configuration: the value of each symbol that has one. The names omit CONFIG_.
type Config map[string]string

// Parse reads a configuration or a fragment of one. It treats a symbol that is "not set" like a missing one, as the kernel
// does.
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

// BuiltIn reports whether the symbol is y: built into the kernel, not a module.
func (c Config) BuiltIn(symbol string) bool {
	return c[symbol] == "y"
}
