package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A DovecotConfig says which mailboxes a Dovecot serves.
type DovecotConfig struct {
	// Store is the root of the Maildirs, <Store>/<domain>/<user>; if empty,
	// the Dovecot has a new one of its own.
	Store string

	// Location is Dovecot's mail_location of a mailbox; if empty, it is
	// "maildir:<Store>/%d/%n". An example is "mbox:/srv/%d/%n:INBOX=/srv/%d/%n/mbox".
	Location string

	// Owner is the numeric user and group of the mailboxes; 0 means Vmail.
	// (Dovecot refuses root's mail.)
	Owner int

	// Users are the addresses that exist. If there are none, all do.
	Users []string

	// Extra is put at the end of dovecot.conf.
	Extra string
}

// A Dovecot serves a store of Maildirs by IMAP, POP3 and LMTP, with
// Password for everybody.
type Dovecot struct {
	*Process
	IMAP, POP3 string // where it listens: host:port
	LMTP       string // the same
	LMTPUnix   string // path of the UNIX socket
	Store      string
	dir        string
}

// Password opens every mailbox of every Dovecot started here.
const Password = "secret"

// StartDovecot starts a Dovecot of its own, and waits until it serves.
func StartDovecot(t testing.TB, cfg DovecotConfig) *Dovecot {
	t.Helper()
	NeedRoot(t)
	path := Need(t, "dovecot", "/usr/lib/dovecot/imap", "/usr/lib/dovecot/pop3", "/usr/lib/dovecot/lmtp")[0]
	if cfg.Owner == 0 {
		cfg.Owner = Vmail
	}
	d := &Dovecot{IMAP: Addr(t), POP3: Addr(t), LMTP: Addr(t), Store: cfg.Store, dir: Dir(t)}
	d.LMTPUnix = filepath.Join(d.dir, "lmtp.sock")
	if d.Store == "" {
		d.Store = mkdir(t, cfg.Owner, d.dir, "mail")
	}
	if cfg.Location == "" {
		cfg.Location = "maildir:" + d.Store + "/%d/%n"
	}
	d.Process = Start(t, exec.Command(path, "-F", "-c", write(t, d.dir, "dovecot.conf", d.conf(t, cfg))))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Dovecot:\n%s", tail(d.Log(), 200))
		}
	})
	for _, addr := range []string{d.IMAP, d.POP3, d.LMTP} {
		d.WaitListen("tcp", addr)
	}
	return d
}

func (d *Dovecot) conf(t testing.TB, cfg DovecotConfig) string {
	conf := dovecotConf
	if len(cfg.Users) > 0 {
		var passwd strings.Builder
		for _, user := range cfg.Users {
			local, domain, _ := strings.Cut(user, "@")
			fmt.Fprintf(&passwd, "%s:{PLAIN}%s:%d:%d::%s/%s/%s::\n", user, Password, cfg.Owner, cfg.Owner, d.Store, domain, local)
		}
		conf += passwdFile
		write(t, d.dir, "users", passwd.String())
	} else {
		conf += everybody
	}
	host, imapPort := splitAddr(d.IMAP)
	_, pop3Port := splitAddr(d.POP3)
	_, lmtpPort := splitAddr(d.LMTP)
	return strings.NewReplacer(
		"$DIR", d.dir, "$LOCATION", cfg.Location, "$STORE", d.Store, "$OWNER", strconv.Itoa(cfg.Owner),
		"$PASSWORD", Password, "$HOST", host, "$IMAP", imapPort, "$POP3", pop3Port, "$LMTP", lmtpPort,
	).Replace(conf) + cfg.Extra + "\n"
}

const dovecotConf = `base_dir = $DIR/run
state_dir = $DIR/state
log_path = $DIR/log
protocols = imap pop3 lmtp
listen = $HOST
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
default_internal_user = dovecot
default_login_user = dovenull
mail_location = $LOCATION
mail_uid = $OWNER
mail_gid = $OWNER
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 0
lmtp_save_to_detail_mailbox = no
recipient_delimiter = +
service imap-login {
  inet_listener imap {
    port = $IMAP
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  inet_listener pop3 {
    port = $POP3
  }
  inet_listener pop3s {
    port = 0
  }
}
service lmtp {
  unix_listener $DIR/lmtp.sock {
    mode = 0666
  }
  inet_listener lmtp {
    port = $LMTP
  }
}
`

const everybody = `passdb {
  driver = static
  args = password=$PASSWORD
}
userdb {
  driver = static
  args = uid=$OWNER gid=$OWNER home=$STORE/%d/%n allow_all_users=yes
}
`

const passwdFile = `passdb {
  driver = passwd-file
  args = $DIR/users
}
userdb {
  driver = passwd-file
  args = $DIR/users
}
`

// Log returns Dovecot's log.
func (d *Dovecot) Log() string {
	b, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(b)
}

// Complaints returns the lines of the log that tell of something wrong, such
// as a file whose name states another size than it has.
func (d *Dovecot) Complaints() []string {
	var all []string
	for line := range strings.Lines(d.Log()) {
		if strings.Contains(line, "Time moved forwards by") { // it was kept waiting by a busy machine
			continue
		}
		for _, sign := range []string{"Warning:", "Error:", "Fatal:", "Panic:"} {
			if strings.Contains(line, sign) {
				all = append(all, strings.TrimSpace(line))
				break
			}
		}
	}
	return all
}

// FetchIMAP returns all messages in the INBOX of user, local@domain, as an
// IMAP client gets them. The test fails if Dovecot will not give them.
func (d *Dovecot) FetchIMAP(user string) []Stored {
	d.t.Helper()
	all, err := FetchIMAP(d.IMAP, user, Password, "INBOX")
	if err != nil {
		d.t.Fatalf("peer: %v", err)
	}
	return all
}

// FetchPOP3 is FetchIMAP by POP3.
func (d *Dovecot) FetchPOP3(user string) []Stored {
	d.t.Helper()
	all, err := FetchPOP3(d.POP3, user, Password)
	if err != nil {
		d.t.Fatalf("peer: %v", err)
	}
	return all
}

// Version returns Dovecot's, as "2.3.19.1".
func (d *Dovecot) Version() string {
	version, _, _ := strings.Cut(run(d.t, "dovecot", "--version"), " ")
	return version
}
