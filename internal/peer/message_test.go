package peer

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
)

func TestGenerator(t *testing.T) {
	t.Parallel()
	for _, g := range []Generator{{Seed: 1}, {Seed: 1, Min: 2 << 10, Max: 2 << 20}, {Seed: 2, Min: 5 << 10, Max: 5 << 10}} {
		for i := range 50 {
			m := g.Message(i)
			if !bytes.Equal(m.Octets, g.Message(i).Octets) {
				t.Fatalf("%+v: message %d is not always the same", g, i)
			}
			low, high := max(g.Min, 1<<10), g.Max
			if high == 0 {
				high = 64 << 10
			}
			if n := len(m.Octets); n < low || n > high+1 {
				t.Errorf("%+v: message %d has %d octets", g, i, n)
			}
			if rest := bytes.ReplaceAll(m.Octets, []byte("\r\n"), nil); bytes.ContainsAny(rest, "\r\n") {
				t.Errorf("%+v: message %d has a bare CR or LF", g, i)
			}
			if !bytes.HasSuffix(m.Octets, []byte("\r\n")) {
				t.Errorf("%+v: message %d does not end with CRLF", g, i)
			}
		}
	}
}

// What makes servers stumble is there, and absent from plain messages.
func TestGeneratorStumblingBlocks(t *testing.T) {
	t.Parallel()
	blocks := []string{`\r\n\.\r\n`, `\r\n\.\.+\r\n`, `\r\n\.[./]`, `\r\nFrom `, `[\x80-\xff]`, `\x00`, `[^\r\n]{999}`, `[ \t]\r\n`}
	all := func(g Generator) (octets []byte) {
		for i := range 20 {
			octets = append(octets, g.Message(i).Octets...)
		}
		return octets
	}
	nasty, plain := all(Generator{Seed: 3}), all(Generator{Seed: 3, Plain: true})
	for _, block := range blocks {
		re := regexp.MustCompile(block)
		if !re.Match(latin1(nasty)) {
			t.Errorf("%s is nowhere", block)
		}
		if re.Match(latin1(plain)) {
			t.Errorf("%s is in a plain message", block)
		}
	}
}

// latin1 turns octets into runes of the same number, for regexp.
func latin1(b []byte) []byte {
	var runes bytes.Buffer
	for _, c := range b {
		runes.WriteRune(rune(c))
	}
	return runes.Bytes()
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	g := Generator{Seed: 4, Min: 2 << 10, Max: 8 << 10}
	top := []byte("Return-Path: <a@b.example>\nReceived: from x\n\tby y; now\n")
	for i := range 20 {
		sent := g.Message(i).Octets
		for _, stored := range [][]byte{sent, toLF(sent), slices.Concat(top, toLF(sent))} {
			if m, err := g.Identify(stored); err != nil || m.Index != i {
				t.Errorf("message %d: identified as %d, %v", i, m.Index, err)
			}
		}
	}
}

// Identify refuses every message of which one octet is gone, added or changed.
func TestIdentifyRefuses(t *testing.T) {
	t.Parallel()
	g := Generator{Seed: 5, Min: 1 << 10, Max: 2 << 10}
	random := rand.New(rand.NewPCG(5, 5))
	for i := range 50 {
		sent := toLF(g.Message(i).Octets)
		at := random.IntN(len(sent))
		damaged := map[string][]byte{
			"cut":       sent[:at],
			"without":   slices.Concat(sent[:at], sent[at+1:]),
			"doubled":   slices.Concat(sent[:at], sent[at:at+1], sent[at:]),
			"changed":   slices.Concat(sent[:at], []byte{sent[at] ^ 4}, sent[at+1:]),
			"extended":  slices.Concat(sent, []byte("\n")),
			"with CR":   slices.Concat(sent[:at], []byte("\r"), sent[at:]),
			"text atop": slices.Concat([]byte("hello\n"), sent),
			"two":       slices.Concat(sent, sent),
			"of others": toLF(Generator{Seed: 6}.Message(i).Octets),
			"empty":     nil,
		}
		for how, stored := range damaged {
			if bytes.Equal(toLF(stored), sent) {
				continue // CR before LF is no damage
			}
			if m, err := g.Identify(stored); err == nil {
				t.Errorf("message %d %s at %d passes as message %d", i, how, at, m.Index)
			}
		}
	}
}

func TestIdentifyIMAP(t *testing.T) {
	t.Parallel()
	g := Generator{Seed: 7}
	for i := range 50 {
		sent := g.Message(i).Octets
		carried := bytes.ReplaceAll(sent, []byte{0}, []byte{0x80})
		if _, err := g.IdentifyIMAP(carried); err != nil {
			t.Error(err)
		}
		if _, err := g.Identify(carried); err == nil && !bytes.Equal(sent, carried) {
			t.Errorf("message %d: Identify does not see that NUL is gone", i)
		}
	}
}

func TestCensus(t *testing.T) {
	t.Parallel()
	yes, no := Reply{Code: 250}, Reply{Code: 451}
	c := make(Census)
	c.add("ann@example.com", 1)
	c.add("ann@example.com", 2)
	c.add("ann@example.com", 2)
	results := []Result{
		{Index: 1, To: []string{"ann+x@example.com", "joe@example.com"}, Replies: []Reply{yes, no}},
		{Index: 2, To: []string{"ann@example.com", "joe@example.com"}, Replies: []Reply{yes, yes}},
		{Index: 3, To: []string{"ann@example.com"}, Replies: []Reply{{}}},
	}
	if c.Total() != 3 {
		t.Errorf("total %d", c.Total())
	}
	if lost := c.Lost(results); len(lost) != 1 || lost[0] != "message 2 to joe@example.com: 250 " {
		t.Errorf("lost %q", lost)
	}
	if doubled := c.Doubled(); len(doubled) != 1 || doubled[0] != "message 2: 2 times in ann@example.com" {
		t.Errorf("doubled %q", doubled)
	}
	for i, want := range []bool{false, true, false} {
		if results[i].Accepted() != want {
			t.Errorf("%v: accepted is %v", results[i], !want)
		}
	}
}
