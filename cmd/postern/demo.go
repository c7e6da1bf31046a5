package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func demoCommand(io stdio) *cobra.Command {
	d := demo{io: io}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work, here and now: no root, no DNS, no configuration needed",
		Long: `Makes a folder with a real configuration, starts the MX and the delivery agent
as that configuration says, sends a first message through them over TCP, shows
where it lies, and serves until you interrupt it. Change the files in the folder
and watch the log; delete the folder when you are done.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&d.dir, "dir", "postern-demo", "the `folder` to make, or to go on with")
	cmd.Flags().StringVar(&d.listen, "listen", "127.0.0.1:2525", "the `address` to listen on")
	cmd.Flags().BoolVar(&d.once, "once", false, "exit after the first delivery")
	return cmd
}

// A demo shows a newcomer what Postern does.
type demo struct {
	io          stdio
	dir, listen string
	once        bool
}

func (d *demo) run(ctx context.Context) error {
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return err
	}
	d.dir = dir
	if err := d.writeFiles(); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	config := filepath.Join(d.dir, "postern.toml")
	d.say("The configuration is in %s\n", config)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, config, halves{mx: true, mda: true}, d.io.err, func(*server) { close(ready) })
	}()
	select {
	case err := <-served:
		return d.explain(err)
	case <-ready:
	}
	if err := d.firstMessage(); err != nil {
		stop()
		return errors.Join(err, <-served)
	}
	if d.once {
		stop()
		return <-served
	}
	d.suggest()
	return <-served
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.io.out, format, args...) }

// explain adds the way out to an error of starting.
func (d *demo) explain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "listen" {
		return fmt.Errorf("%w\nIs something else there? Try another address: %s demo --listen 127.0.0.1:2526", err, program())
	}
	return err
}

// writeFiles makes the folder. What is there already stays as it is, but for the
// configuration, which follows the flags.
func (d *demo) writeFiles() error {
	for _, sub := range []string{"recipients.d", "store", "state", "spool"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o700); err != nil {
			return err
		}
	}
	config := fmt.Sprintf(demoConfig, d.listen)
	if err := os.WriteFile(filepath.Join(d.dir, "postern.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	recipients := filepath.Join(d.dir, "recipients.d", "example.com.toml")
	if _, err := os.Stat(recipients); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(recipients, []byte(demoRecipients), 0o600)
}

// firstMessage sends one and shows where it lies.
func (d *demo) firstMessage() error {
	d.say("Sending a message to alice@example.com through %s ...\n", d.listen)
	message := fmt.Sprintf(demoMessage, time.Now().Format(time.RFC1123Z))
	if err := send(d.listen, message); err != nil {
		return fmt.Errorf("send the first message: %w", err)
	}
	newest, err := newestFile(filepath.Join(d.dir, "store", "example.com", "alice", "new"))
	if err != nil {
		return fmt.Errorf("look for the first message: %w", err)
	}
	content, err := os.ReadFile(newest)
	if err != nil {
		return err
	}
	d.say("250: it is on stable storage, in\n  %s\n\n%s\n", newest, content)
	return nil
}

// send sends a message from the null sender, so that nobody's DNS is needed.
func send(addr, message string) error {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	client, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := errors.Join(client.Hello("[127.0.0.1]"), client.Mail(""), client.Rcpt("alice@example.com")); err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	return errors.Join(w.Close(), client.Quit())
}

// newestFile returns the path of the file in dir that was changed last.
func newestFile(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var (
		newest string
		when   time.Time
	)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && !info.ModTime().Before(when) {
			newest, when = filepath.Join(dir, e.Name()), info.ModTime()
		}
	}
	if newest == "" {
		return "", fmt.Errorf("%s is empty", dir)
	}
	return newest, nil
}

func (d *demo) suggest() {
	d.say(demoSuggestions, d.listen, shellWord(d.dir), program())
}

// program returns what to type to start this program, in whatever folder.
func program() string {
	path, err := os.Executable()
	if err != nil {
		return "postern"
	}
	return typed(path)
}

// typed returns what to type to start the program at path: its name alone does only
// for one that is installed, and not after go run.
func typed(path string) string {
	if found, err := exec.LookPath("postern"); err == nil && sameFile(found, path) {
		return "postern"
	}
	return shellWord(path)
}

// sameFile reports whether two names are of one file that is there.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// plainWord is what a shell takes as it stands.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`)

// shellWord returns s as a shell takes it for one word.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const demoConfig = `# A whole configuration. README.md says what else there is.
hostname   = "mx.example.com"
recipients = "recipients.d"
state      = "state"

[mx]
listen     = [%q]
spool      = "spool"
deliver_to = "unix:lmtp.sock"
control    = "mx.sock"

[mda]
listen  = "unix:lmtp.sock"
store   = "store"
control = "mda.sock"
`

const demoRecipients = `# Edit me while the demo runs: a valid edit serves within a second, and a broken
# one leaves the recipients as they were and says why.
domain    = "example.com"
delimiter = "+"
mailboxes = ["alice", "bob"]

[aliases]
postmaster = ["alice"]
team       = ["alice", "bob"]

[refuse]
old = "moved to alice@example.com"
`

const demoMessage = "From: Postern <postmaster@example.com>\r\n" +
	"To: alice@example.com\r\n" +
	"Subject: It works\r\n" +
	"Date: %s\r\n" +
	"Message-ID: <demo@example.com>\r\n" +
	"\r\n" +
	"This message came over SMTP to the MX, over LMTP to the delivery agent, and\r\n" +
	"was on stable storage before the MX said 250.\r\n"

const demoSuggestions = `It serves now, on %[1]s, until you press Ctrl-C. In another terminal, try:

  swaks --server %[1]s --to team@example.com       # an alias: two mailboxes
  swaks --server %[1]s --to alice+lists@example.com # a sub-address
  swaks --server %[1]s --to nobody@example.com     # refused, and the log says why
  ls %[2]s/store/example.com/*/new
  %[3]s --config %[2]s/postern.toml status
  $EDITOR %[2]s/recipients.d/example.com.toml      # serves at once
`
