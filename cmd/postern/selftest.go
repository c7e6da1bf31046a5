package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/selftest"
)

func selftestCommand(io stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Check any SMTP or LMTP server against the standards",
		Long: `Connects to a server, says what a client may say and what it may not, and judges
the answers by the RFCs. Any server will do. Its log will fill with errors.

Messages go only to the address that --to names; their subjects begin with
"[selftest]". Without --to, --unknown and --from, the checks that need them are
skipped. A server that counts the errors of its clients should be told to exempt
this host (limits.exempt of Postern), or it will soon refuse to talk.

Exit codes: 0 no rule that MUST be kept is broken; 1 one is; 2 the server could
not be reached, or refused what some checks have to begin with.`,
	}
	cmd.AddCommand(
		selftestProtocol(io, selftest.SMTP, &cobra.Command{
			Use:   "smtp HOST[:PORT]",
			Short: "Check an SMTP server",
			Example: `  postern selftest smtp mx.example.com --to you@example.com \
    --unknown nobody@example.com --from you@elsewhere.example
  postern selftest smtp 127.0.0.1:2525 --to you@example.com --only 'end.*'`,
		}),
		selftestProtocol(io, selftest.LMTP, &cobra.Command{
			Use:     "lmtp unix:PATH|tcp:HOST:PORT",
			Short:   "Check an LMTP server",
			Example: "  postern selftest lmtp unix:/run/dovecot/lmtp --to you@example.com",
		}),
	)
	return cmd
}

// A tester is what the flags say.
type tester struct {
	io     stdio
	target selftest.Target
	only   []string
	json   bool
	all    bool
	list   bool
}

func selftestProtocol(io stdio, protocol selftest.Protocol, cmd *cobra.Command) *cobra.Command {
	s := &tester{io: io, target: selftest.Target{Protocol: protocol}}
	t := &s.target
	flags := cmd.Flags()
	flags.StringVar(&t.To, "to", "", "an `address` that the server takes mail for: it will get some")
	flags.StringVar(&t.Unknown, "unknown", "", "an `address` in its domain that does not exist")
	flags.StringVar(&t.From, "from", "", "an `address` that may send to it; empty: the null sender")
	flags.StringVar(&t.Hello, "hello", helloName(), "what to call ourselves: a `name`, or an address in brackets")
	flags.DurationVar(&t.Timeout, "timeout", 30*time.Second, "how long to wait for each reply")
	flags.BoolVar(&t.Insecure, "tls-insecure", false, "do not judge the certificate")
	flags.BoolVar(&t.Slow, "slow", false, "check timeouts, too: takes up to half an hour")
	flags.Int64Var(&t.MaxSend, "max-send", 1<<20, "send messages of up to `octets` only to have them refused")
	flags.StringSliceVar(&s.only, "only", nil, "only these checks: an `ID`, or a pattern such as 'end.*'")
	flags.BoolVar(&s.json, "json", false, "print JSON")
	flags.BoolVarP(&s.all, "verbose", "v", false, "show the dialogue of every check")
	flags.BoolVar(&s.list, "list", false, "list the checks, and connect to nothing")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if s.list {
			return cobra.NoArgs(cmd, args)
		}
		return cobra.ExactArgs(1)(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		checks, err := selftest.Select(selftest.Checks(protocol), s.only)
		switch {
		case err != nil:
			return exitCode{exitUsage, err}
		case s.list:
			return listChecks(io.out, checks)
		}
		if err := s.aim(args[0]); err != nil {
			return err
		}
		return s.run(cmd.Context(), checks)
	}
	return cmd
}

// helloName returns a name that a server can take for one.
func helloName() string {
	name, err := os.Hostname()
	if err != nil || !strings.Contains(name, ".") {
		return "[127.0.0.1]"
	}
	return name
}

func listChecks(w io.Writer, checks []selftest.Check) error {
	for _, c := range checks {
		if _, err := fmt.Fprintf(w, "%-24s %-24s %-6s %s\n", c.ID, c.Section, c.Level, c.Title); err != nil {
			return err
		}
	}
	return nil
}

// aim says whom to connect to.
func (s *tester) aim(addr string) error {
	for flag, value := range map[string]string{"--to": s.target.To, "--unknown": s.target.Unknown, "--from": s.target.From} {
		if value != "" && !strings.Contains(value, "@") {
			return usage("%s %q is not an address", flag, value)
		}
	}
	network := "tcp"
	if s.target.Protocol == selftest.LMTP {
		var found bool
		if network, addr, found = strings.Cut(addr, ":"); !found || network != "unix" && network != "tcp" {
			return usage("the LMTP server must be unix:PATH or tcp:HOST:PORT")
		}
	} else if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "25")
	}
	if network == "tcp" {
		var err error
		if s.target.Host, s.target.Port, err = net.SplitHostPort(addr); err != nil {
			return exitCode{exitUsage, err}
		}
	}
	s.target.Dial = func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return nil
}

// run makes the checks, prints what came of them, and returns the exit code.
func (s *tester) run(ctx context.Context, checks []selftest.Check) error {
	run, err := selftest.Start(ctx, s.target)
	if err != nil {
		return exitCode{2, err}
	}
	results := make([]selftest.Result, 0, len(checks))
	for i, c := range checks {
		s.progress(fmt.Sprintf("%d/%d %s", i+1, len(checks), c.ID))
		r := run.Check(ctx, c)
		s.progress("")
		if ctx.Err() != nil {
			return exitCode{2, ctx.Err()}
		}
		results = append(results, r)
		if !s.json {
			if err := selftest.WriteRow(s.io.out, r, s.all); err != nil {
				return err
			}
		}
	}
	if err := s.print(run.Server(), results); err != nil {
		return err
	}
	switch n := selftest.Summarize(results); {
	case n.Failed > 0:
		return exitCode{code: 1}
	case n.Unclear > 0:
		return exitCode{code: 2}
	}
	return nil
}

func (s *tester) print(server selftest.Server, results []selftest.Result) error {
	if !s.json {
		return selftest.WriteSummary(s.io.out, results)
	}
	return printJSON(s.io.out, struct {
		Protocol selftest.Protocol `json:"protocol"`
		Server   selftest.Server   `json:"server"`
		Summary  selftest.Summary  `json:"summary"`
		Results  []selftest.Result `json:"results"`
	}{s.target.Protocol, server, selftest.Summarize(results), results})
}

// progress shows on a terminal what is under way, on a line that the next one
// takes the place of.
func (s *tester) progress(text string) {
	f, ok := s.io.err.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(f, "\r\x1b[K%s", text)
	}
}
