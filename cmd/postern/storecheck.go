package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"postern/config"
	"postern/mailbox"
)

func storeCommand(stdio stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look after the mailboxes",
		Long: `Finds what is wrong in the mailboxes that the recipient maps name, and mends it if
told to. Look first: check changes nothing.`,
	}
	verb := func(name, short, long string, repair bool) *cobra.Command {
		v := storeVisit{stdio: stdio, repair: repair}
		cmd := &cobra.Command{
			Use: name, Short: short, Long: long, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd.Context(), configPath(cmd)) },
		}
		cmd.Flags().BoolVar(&v.asJSON, "json", false, "print a JSON object for each finding, on a line of its own")
		return cmd
	}
	cmd.AddCommand(
		verb("check", "Say what is wrong in the mailboxes", `Reads the mailboxes that the recipient maps name, and prints what is wrong: names
of messages that state another size than the message has, what deliveries left
behind that died (files, locks, a part of a message at the end of an mbox), owners
and modes with which a reader cannot use what is there, a maildirsize that says
something else than there is, maildirfolder in a Maildir that is no folder, and
lines in an mbox that look like separators and are none, but for those of a body
whose Content-Length is right.

Nothing is changed. Mail may flow meanwhile. The exit code is 1 if something is
wrong.`, false),
		verb("repair", "Repair what store check finds", `Does what store check does, and repairs what can be repaired without losing
anything: lines of an mbox are left to you, and owners unless you are root. Mail may flow meanwhile. A
message whose name changes may look new to a reader. The exit code is 1 if
something remains wrong.`, true),
	)
	return cmd
}

// A storeVisit goes through all mailboxes.
type storeVisit struct {
	stdio
	repair, asJSON bool

	found, repaired int
}

// A finding is what is printed of a mailbox.Finding.
type finding struct {
	Mailbox  string          `json:"mailbox"`
	Path     string          `json:"path,omitempty"`
	Problem  mailbox.Problem `json:"problem"`
	Text     string          `json:"text"`
	Repaired bool            `json:"repaired"`
}

func (v *storeVisit) run(ctx context.Context, path string) error {
	p, err := load(path, io.Discard, "")
	if err != nil {
		return err
	}
	store, err := p.openStore(nil)
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.get(); err != nil {
		return err
	}
	members := slices.SortedFunc(p.recipients.Current().All(), func(a, b config.Member) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.User, b.User))
	})
	all := len(members)
	members = slices.DeleteFunc(members, func(m config.Member) bool { return m.Account != "" })
	if n := all - len(members); n > 0 {
		fmt.Fprintf(v.err, "postern: not looked at: %d mailboxes that are system users'\n", n)
	}
	progress := v.progress(len(members))
	for i, m := range members {
		if err := ctx.Err(); err != nil {
			return err
		}
		progress(i)
		if err := v.visit(store, m); err != nil {
			return err
		}
	}
	progress(len(members))
	if !v.asJSON {
		fmt.Fprintf(v.out, "%d mailboxes: %d findings, %d repaired\n", len(members), v.found, v.repaired)
	}
	if v.found > v.repaired {
		return exitCode{code: 1}
	}
	return nil
}

// visit prints and repairs what there is in one mailbox. One that cannot be
// read is a finding itself.
func (v *storeVisit) visit(store *store, m config.Member) error {
	found, err := findings(store, m)
	if err != nil {
		return v.print(m, mailbox.Finding{Problem: mailbox.Unreadable, Text: err.Error()}, nil)
	}
	for f, err := range found {
		if err != nil {
			f = mailbox.Finding{Problem: mailbox.Unreadable, Text: err.Error()}
		}
		var failed error
		if v.repair && f.Repairable() {
			failed = f.Repair()
		}
		if err := v.print(m, f, failed); err != nil {
			return err
		}
	}
	return nil
}

func findings(store *store, m config.Member) (iter.Seq2[mailbox.Finding, error], error) {
	if m.Format == config.Mbox {
		box, err := store.mbox(m)
		if err != nil {
			return nil, err
		}
		return box.Check(time.Now()), nil
	}
	box, err := store.limited(m)
	if err != nil {
		return nil, err
	}
	return box.Check(time.Now()), nil
}

// print prints a finding whose repair failed with an error, if it did.
func (v *storeVisit) print(m config.Member, f mailbox.Finding, failed error) error {
	v.found++
	line := finding{
		Mailbox: m.User + "@" + m.Domain, Path: f.Path, Problem: f.Problem, Text: f.Text,
		Repaired: v.repair && f.Repairable() && failed == nil,
	}
	if failed != nil {
		line.Text += fmt.Sprintf("; %v", failed)
	}
	if line.Repaired {
		v.repaired++
	}
	if v.asJSON {
		return json.NewEncoder(v.out).Encode(line)
	}
	end := ""
	if line.Repaired {
		end = ": repaired"
	}
	_, err := fmt.Fprintf(v.out, "%s: %s: %q %s%s\n", line.Mailbox, line.Problem, line.Path, line.Text, end)
	return err
}

// progress returns what shows a person how far we are, where one looks on.
func (v *storeVisit) progress(all int) func(done int) {
	file, ok := v.err.(*os.File)
	if !ok {
		return func(int) {}
	}
	if _, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err != nil {
		return func(int) {}
	}
	start := time.Now()
	var last time.Time
	return func(done int) {
		if done == all {
			fmt.Fprint(file, "\r\x1b[K")
			return
		}
		if now := time.Now(); now.Sub(last) > 200*time.Millisecond {
			last = now
			fmt.Fprintf(file, "\r\x1b[K%s, %d findings", bar(done, all, now.Sub(start)), v.found)
		}
	}
}

// bar draws how much of all is done, and tells how long the rest will take if it is
// like what is behind.
func bar(done, all int, took time.Duration) string {
	const width = 30
	full := width * done / all
	text := fmt.Sprintf("[%s%s] %d%% of %d mailboxes", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*done/all, all)
	if done > 0 {
		text += fmt.Sprintf(", %v left", (took / time.Duration(done) * time.Duration(all-done)).Round(time.Second))
	}
	return text
}
