package config

import (
	"fmt"
	"testing"
)

func TestChanged(t *testing.T) {
	const text = "hostname='mx.example'\n[mx]\nlisten=[':25']\ntls={cert='/c',key='/k'}\n[[filter]]\nname='a'\nconnect='unix:/a'\n[limits]\nerrors_per_client=1\n"
	was, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	was.File = "" // each is in a folder of its own
	tests := []struct{ name, text, want string }{
		{"nothing", text, "[]"},
		{"written otherwise", "# x\n" + text + "[dns]\n[reload]\nwatch=true\n", "[]"},
		{"a value", text + "[policy]\nenforce=false", "[{policy.enforce  false}]"},
		{"one less", "hostname='mx.example'\n[mx]\nlisten=[':25']\n", `[{filter [{ connect = "unix:/a", name = "a" }] } {limits.errors_per_client 1 } {mx.tls.cert "/c" } {mx.tls.key "/k" }]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is, err := load(t, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			is.File, is.Recipients = "", was.Recipients
			if got := fmt.Sprint(was.Changed(is)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
