package mailbox

import "testing"

func TestParseMaildirsize(t *testing.T) {
	q := Quota{Octets: 1000, Messages: 10}
	tests := []struct {
		name, text string
		quota      Quota
		want       Usage
		lines      int
		ok         bool
	}{
		{"new", "1000S,10C\n300 3\n", q, Usage{300, 3}, 1, true},
		{"the other way round", "10C,1000S\n300 3\n", q, Usage{300, 3}, 1, true},
		{"added and taken away", "1000S,10C\n300 3\n100 1\n-200 -2\n", q, Usage{200, 2}, 3, true},
		{"as Courier writes", "1000S\n         300            3\n", Quota{Octets: 1000}, Usage{300, 3}, 1, true},
		{"messages only", "10C\n300 3\n", Quota{Messages: 10}, Usage{300, 3}, 1, true},
		{"unlimited", "0S\n300 3\n", Quota{}, Usage{300, 3}, 1, true},
		{"another quota", "2000S,10C\n300 3\n", q, Usage{}, 0, false},
		{"a limit less", "1000S\n300 3\n", q, Usage{}, 0, false},
		{"no count", "1000S,10C\n", q, Usage{}, 0, false},
		{"nothing", "", q, Usage{}, 0, false},
		{"below zero", "1000S,10C\n300 3\n-400 -1\n", q, Usage{-100, 2}, 2, false},
		{"a line cut short", "1000S,10C\n300 3\n100", q, Usage{}, 0, false},
		{"a line without its end", "1000S,10C\n300 3\n100 1", q, Usage{}, 0, false},
		{"zeros", "\x00\x00\x00\x00\x00\x00", q, Usage{}, 0, false},
		{"zeros at the end", "1000S,10C\n300 3\n\x00\x00\x00\x00\n", q, Usage{}, 0, false},
		{"overflow", "1000S,10C\n9999999999999999999 1\n", q, Usage{}, 0, false},
		{"three numbers", "1000S,10C\n1 2 3\n", q, Usage{}, 0, false},
	}
	for _, tt := range tests {
		got, lines, ok := parseMaildirsize(tt.text, tt.quota)
		if ok != tt.ok || ok && (got != tt.want || lines != tt.lines) {
			t.Errorf("%s: %+v, %d lines, %v", tt.name, got, lines, ok)
		}
	}
}

func FuzzMaildirsize(f *testing.F) {
	f.Add("1000S,10C\n300 3\n", int64(1000), int64(10), int64(300), int64(3))
	f.Add(",\n", int64(0), int64(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, text string, octets, messages, stored, count int64) {
		parseMaildirsize(text, Quota{})
		parseLimits(text)
		q := Quota{Octets: max(octets, 0), Messages: max(messages, 0)}
		u := Usage{max(stored, 0), max(count, 0)}
		if got, lines, ok := parseMaildirsize(formatMaildirsize(q, u), q); got != u || lines != 1 || !ok {
			t.Errorf("%+v, %+v came back as %+v, %d lines, %v", q, u, got, lines, ok)
		}
	})
}

func TestStatedSize(t *testing.T) {
	tests := []struct {
		name string
		want int64
		ok   bool
	}{
		{"1.M2.mx,S=123,W=130", 123, true},
		{"1.M2.mx,W=130,S=123:2,S", 123, true},
		{"1.M2.mx,S=0", 0, true},
		{"1.M2.mx", 0, false},
		{"1.M2.mx:2,S", 0, false},
		{"1.M2.mx,S=", 0, false},
		{"1.M2.mx,S=12x", 0, false},
		{"1.M2.mx,S=-1", 0, false},
	}
	for _, tt := range tests {
		if got, ok := statedSize(tt.name); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %d, %v", tt.name, got, ok)
		}
	}
}
