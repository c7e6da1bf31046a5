package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/postfixmap"
)

func importCommand(stdio stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Take over whose mail another server takes",
		Long: `Writes recipient maps for Postern from what another mail server, on this host, is
configured to take. That server is only read, and goes on as before.`,
	}
	cmd.AddCommand(importPostfixCommand(stdio))
	return cmd
}

func importPostfixCommand(stdio stdio) *cobra.Command {
	i := postfixImport{out: stdio.out}
	cmd := &cobra.Command{
		Use:   "postfix",
		Short: "Write recipient maps from the virtual tables of a Postfix",
		Long: `Reads virtual_mailbox_maps and virtual_alias_maps as the Postfix of this host has
them, and writes a recipient map for each domain. Mailboxes stay where they are.

Then it looks up every address both ways, in Postfix's tables and in the new
maps, and says where the two differ and what could not be taken over: tables
without a text (regexp, SQL, LDAP), and mail that would have to be forwarded.

  postern import postfix                       # show what it would be
  postern import postfix --into recipients.d   # write it`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return i.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&i.from, "postfix", "/etc/postfix", "the `folder` of main.cf")
	cmd.Flags().StringVar(&i.into, "into", "", "the `folder` to write the maps to; without it they are only shown")
	cmd.Flags().StringVar(&i.store, "store", "/var/mail/postern", "the `folder` of mailboxes that have no path of their own (mda.store)")
	cmd.Flags().BoolVar(&i.force, "force", false, "replace maps that are there already")
	return cmd
}

type postfixImport struct {
	out               io.Writer
	from, into, store string
	force             bool
}

func (i postfixImport) run(ctx context.Context) error {
	parameters, err := postconf(ctx, i.from)
	if err != nil {
		return err
	}
	tables, err := postfixmap.Read(parameters)
	if err != nil {
		return err
	}
	domains, left := tables.Convert()
	if len(domains) == 0 {
		return fmt.Errorf("the Postfix in %s has no virtual_mailbox_domains and no virtual_alias_domains", i.from)
	}
	folder := i.into
	if folder == "" {
		if folder, err = os.MkdirTemp("", "postern-import-"); err != nil {
			return err
		}
		defer os.RemoveAll(folder)
	}
	if err := i.write(folder, domains); err != nil {
		return err
	}
	return i.compare(folder, tables, left)
}

// postconf asks Postfix for what its main.cf says.
func postconf(ctx context.Context, folder string) (postfixmap.Parameters, error) {
	cmd := exec.CommandContext(ctx, "postconf", append([]string{"-x", "-c", folder}, postfixmap.Names...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("postconf is not here: run this on the host of the Postfix, or copy its tables and install Postfix beside them")
	case err != nil:
		return nil, fmt.Errorf("postconf: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	parameters := make(postfixmap.Parameters)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		parameters[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return parameters, nil
}

// write writes a map for each domain, all or none that is there already.
func (i postfixImport) write(folder string, domains []*postfixmap.Domain) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, d := range domains {
		if _, err := os.Lstat(filepath.Join(folder, d.Name+".toml")); err == nil && !i.force {
			return fmt.Errorf("%s is there already; --force replaces it", filepath.Join(folder, d.Name+".toml"))
		}
	}
	for _, d := range domains {
		var text bytes.Buffer
		if err := d.WriteTo(&text, i.store); err != nil {
			return err
		}
		path := filepath.Join(folder, d.Name+".toml")
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			return err
		}
		if i.into == "" {
			fmt.Fprintf(i.out, "## %s.toml\n%s\n", d.Name, &text)
		} else {
			fmt.Fprintf(i.out, "written: %s\n", path)
		}
	}
	return nil
}

// compare looks up every address both ways.
func (i postfixImport) compare(folder string, tables *postfixmap.Tables, left []postfixmap.Left) error {
	r, err := config.LoadRecipients(folder, "localhost")
	if err != nil {
		return explain(i.out, err)
	}
	same, differ := 0, 0
	for _, addr := range tables.Addresses() {
		there, here := tables.Lookup(addr), i.lookup(r, addr)
		if slices.Equal(there, here) {
			same++
			continue
		}
		if differ++; differ == 1 {
			fmt.Fprintln(i.out, "\nWhere the two differ:")
		}
		fmt.Fprintf(i.out, "  %s\n    Postfix: %s\n    Postern: %s\n", addr, strings.Join(there, ", "), strings.Join(here, ", "))
	}
	if len(left) > 0 {
		fmt.Fprintln(i.out, "\nWhat was not taken over:")
	}
	for _, l := range left {
		fmt.Fprintf(i.out, "  %v\n", l)
	}
	fmt.Fprintf(i.out, "\n%d addresses lead to the same mailboxes, %d do not; %d entries were not taken over\n", same, differ, len(left))
	return nil
}

// lookup returns the paths of the mailboxes that addr leads to, sorted; or what
// becomes of its mail.
func (i postfixImport) lookup(r *config.Recipients, addr string) []string {
	local, domain, _ := strings.Cut(addr, "@")
	result := r.Lookup(local, domain)
	if result.Status != config.Known {
		return []string{result.Status.String()}
	}
	var paths []string
	for _, m := range result.Members {
		path := m.Path
		if path == "" {
			path = filepath.Join(i.store, m.Domain, m.User)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// explain prints mistakes one by one; any other error is returned as it is.
func explain(w io.Writer, err error) error {
	var mistakes config.Mistakes
	if !errors.As(err, &mistakes) {
		return err
	}
	printMistakes(w, mistakes)
	if len(mistakes) == 1 {
		return errors.New("one mistake")
	}
	return fmt.Errorf("%d mistakes", len(mistakes))
}
