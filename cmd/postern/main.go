// Command postern is an inbound mail system: an MX that faces the world, a
// delivery agent that writes the mailboxes, and the tools to run both. This
// package is the wiring; what is wired is in the packages below it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"postern/config"
)

// defaultConfig is where the configuration is looked for.
const defaultConfig = "/etc/postern/postern.toml"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// stdio is what a command reads from and writes to.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// printJSON prints v, for programs.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// An exitCode is an error that ends the program with that code. Its message was
// printed already, or its error is to be printed.
type exitCode struct {
	code int
	err  error
}

func (e exitCode) Error() string { return fmt.Sprint(e.err) }
func (e exitCode) Unwrap() error { return e.err }

// run runs one command line and returns the code to exit with.
func run(ctx context.Context, args []string, io stdio) int {
	root, began := newRoot(io), false
	noteRun(root, &began)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	code := exitCode{code: 1, err: err}
	if !began {
		code.code = exitUsage
	}
	errors.As(err, &code)
	if code.err != nil {
		fmt.Fprintf(io.err, "postern: %s\n", visibleLines(code.err.Error()))
	}
	if code.code == exitUsage {
		fmt.Fprintf(io.err, "see: %s --help\n", cmd.CommandPath())
		// Who calls it bounces what ends with 64, and how it is called is no fault of
		// the mail's. Behind an unknown flag its name was not found.
		if cmd.Name() == deliverName || !cmd.HasParent() && slices.Contains(args, deliverName) {
			return exitTempFail
		}
	}
	return code.code
}

// visibleLines returns text, of as many lines, with nothing that a terminal would obey.
func visibleLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = config.Visible(line)
	}
	return strings.Join(lines, "\n")
}

// quantity returns "1 domain", "2 domains".
func quantity(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "x"):
		what += "e"
	case strings.HasSuffix(what, "ry"):
		what = strings.TrimSuffix(what, "y") + "ie"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func newRoot(io stdio) *cobra.Command {
	root := &cobra.Command{
		Use:               "postern",
		Short:             "An inbound mail system: MX and delivery agent",
		Long:              rootLong,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.PersistentFlags().StringP("config", "c", defaultConfig, "the configuration `file`")
	root.AddCommand(
		demoCommand(io), launchCommand(io), writerCommand(),
		serveCommand(io), mxCommand(io), mdaCommand(io), deliverCommand(io),
		checkCommand(io), diffCommand(io), reloadCommand(io), statusCommand(io), metricsCommand(io),
		tryCommand(io), whyCommand(io), replayCommand(io), releaseCommand(io),
		storeCommand(io), dmarcCommand(io), dnsCommand(io),
		selftestCommand(io), importCommand(io), versionCommand(io),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	strict(root)
	// A family is called by its members alone.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	return root
}

// configPath returns what --config says.
func configPath(cmd *cobra.Command) string {
	path, _ := cmd.Flags().GetString("config") // the root command defines it
	return path
}

const rootLong = `Postern takes a domain's mail from the world on port 25, judges it, and delivers
it into Maildirs that the IMAP server you already have reads from. What it
answered 250 to is on stable storage; what it cannot store, the sender keeps.

Try it, without root and without a configuration:

  postern demo

Then write ` + defaultConfig + `, and:

  postern check        # is it right, and what is not?
  postern serve        # the MX and the delivery agent in one process
  postern mx           # or each as a process, and a user, of its own
  postern mda

Exit codes of every command: 0 it is done, and all is well; 64, as in sysexits.h,
the command line is wrong, and nothing was done; 1 it failed, or found what it
looks for. Those that have others name them in their help.`
