//go:build !fault

package guarded

func fault(string) {}
