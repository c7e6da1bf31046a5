// Package yardstick is what contrib/bench/micro measures in: work that does not
// change, so that a figure of one machine says something on another.
package yardstick

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"testing"
)

// BenchmarkYardstick hashes 4 KiB, looks for line ends in them, and fills a map:
// about what is done for a small message.
func BenchmarkYardstick(b *testing.B) {
	text := bytes.Repeat([]byte("0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUV\r\n"), 64)
	var sum [32]byte
	for b.Loop() {
		sum = sha256.Sum256(text)
		words := make(map[string]int)
		for i, line := range bytes.Split(text, []byte("\r\n")) {
			words[strconv.Itoa(i)+string(line[:min(len(line), 8)])] = i
		}
		text[0] = sum[0]%10 + '0'
	}
}
