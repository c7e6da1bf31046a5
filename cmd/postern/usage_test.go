package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// command runs a command line in this process.
func command(t *testing.T, args ...string) (code int, out, complaints string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, stdio{in: strings.NewReader(""), out: &stdout, err: &stderr})
	return code, stdout.String(), stderr.String()
}

// A command line that is wrong is 64, and says on stderr what it should have been;
// that of deliver is 75, or mail would bounce over it. Nothing is done, and nothing is printed that a program could
// take for an answer.
func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"bogus", `unknown command "bogus"`},
		{"stats", `unknown command "stats": is it status?`},
		{"--bogus", "unknown flag: --bogus"},
		{"check a b c", `unexpected argument "a"; usage: postern check`},
		{"serve now", `unexpected argument "now"`},
		{"version now", `unexpected argument "now"`},
		{"why", "an argument is missing; usage: postern why"},
		{"why a b", `unexpected argument "b"`},
		{"why --since never a", "never"},
		{"replay --since never", "never"},
		{"dns", "an argument is missing"},
		{"release", "an argument is missing"},
		{"status --watch=0s", "at least"},
		{"status --watch=x", "invalid argument"},
		{"deliver", `--to "" is not an address`},
		{"deliver --to x extra", `unexpected argument "extra"; usage: postern deliver --to ADDRESS`},
		{"deliver --to x", `--to "x" is not an address`},
		{"deliver --to a@example.com --from x", `--from "x" is not an address`},
		{"deliver --bogus", "unknown flag"},
		{"--bogus deliver --to a@example.com", "unknown flag"},
		{"try", `required flag(s) "ip", "to" not set`},
		{"try --ip x --to a@example.com", `--ip "x" is not an address`},
		{"try --ip 192.0.2.1 --to a@example.com a b", `unexpected argument "b"`},
		{"try --ip 192.0.2.1 --to a@example.com /nowhere", "/nowhere: no such file"},
		{"selftest", "postern selftest does nothing by itself: it is postern selftest lmtp unix:PATH"},
		{"selftest 127.0.0.1:25", `unknown command "127.0.0.1:25": it is postern selftest lmtp unix:PATH|tcp:HOST:PORT, or postern selftest smtp HOST[:PORT]`},
		{"selftest nohost", `unknown command "nohost"`},
		{"selftest smtp", "an argument is missing"},
		{"selftest smtp --list x", `unexpected argument "x"`},
		{"selftest smtp --to x 127.0.0.1", `--to "x" is not an address`},
		{"selftest smtp --only x 127.0.0.1", `"x"`},
		{"selftest lmtp /x", "must be unix:PATH"},
		{"selftest lmtp tcp:x", "x"},
		{"store", "does nothing by itself: it is postern store check, or postern store repair"},
		{"store bogus", `unknown command "bogus": it is postern store check`},
		{"store check x", `unexpected argument "x"`},
		{"dmarc bogus", `unknown command "bogus": it is postern dmarc domains`},
		{"dmarc report", `required flag(s) "domain" not set`},
		{"import", "it is postern import postfix"},
		{"import bogus", `unknown command "bogus"`},
		{"completion xx", `unknown command "xx": it is postern completion bash`},
		{"completion bash x", `unexpected argument "x"`},
		{"help bogus", `unknown command "bogus"`},
		{"help store bogus", `unknown command "bogus": it is postern store check`},
		{"help check bogus", `unknown command "bogus": postern check has no commands`},
		{"reload --confirm 0s", "--confirm=0s: it must be at least 1s"},
		{"reload --confirm 999ms", "at least 1s"},
		{"reload --confirm=-5m", "at least 1s"},
		{"reload --confirm 5m --confirmed", "none of the others"},
	} {
		code, out, complaints := command(t, strings.Fields(tt.line)...)
		want := exitUsage
		if strings.Contains(tt.line, "deliver") {
			want = exitTempFail
		}
		if code != want || out != "" || !strings.HasPrefix(complaints, "postern: ") || !strings.Contains(complaints, tt.want) || !strings.Contains(complaints, "\nsee: postern") {
			t.Errorf("postern %s: code %d\nstdout %q\nstderr %q\nwant %q", tt.line, code, out, complaints, tt.want)
		}
	}
}

// What goes wrong later is not the command line's fault, and says so.
func TestNoUsageErrors(t *testing.T) {
	for line, want := range map[string]int{
		"-c /nowhere check --files":                         1,
		"-c /nowhere why a":                                 1,
		"-c /nowhere try --ip 192.0.2.1 --to a@example.com": 1,
		"-c /nowhere deliver --to a@example.com":            exitTempFail,
		"selftest smtp --timeout 1s 127.0.0.1:1":            2,
		"":                                                  0,
		"--help":                                            0,
		"help":                                              0,
		"help store check":                                  0,
		"store --help":                                      0,
		"completion bash":                                   0,
		"selftest smtp --list":                              0,
		"version":                                           0,
		"__complete stor":                                   0,
	} {
		code, out, complaints := command(t, strings.Fields(line)...)
		if code != want || strings.Contains(complaints, "see: ") || want == 0 && out == "" {
			t.Errorf("postern %s: code %d, want %d; %d octets on stdout\nstderr %q", line, code, want, len(out), complaints)
		}
	}
	if _, out, _ := command(t, "store", "--help"); strings.Contains(out, "postern store [flags]") || !strings.Contains(out, "postern store [command]") {
		t.Errorf("store --help: %s", out)
	}
}

// There is no command that takes what nobody looks at.
func TestEveryCommandIsStrict(t *testing.T) {
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		if c.Args == nil && c.Name() != cobra.ShellCompRequestCmd {
			t.Errorf("%s takes any arguments", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(newRoot(stdio{}))
}
