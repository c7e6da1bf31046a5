package peer

import "testing"

func BenchmarkMessage(b *testing.B) {
	g := Generator{Seed: 1, Min: 1 << 20, Max: 1 << 20}
	b.SetBytes(1 << 20)
	for b.Loop() {
		g.Message(1)
	}
}

func BenchmarkIdentify(b *testing.B) {
	g := Generator{Seed: 1, Min: 1 << 20, Max: 1 << 20}
	stored := toLF(g.Message(1).Octets)
	b.SetBytes(1 << 20)
	for b.Loop() {
		if _, err := g.Identify(stored); err != nil {
			b.Fatal(err)
		}
	}
}
