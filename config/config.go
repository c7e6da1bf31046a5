// Package config reads what an administrator wrote: postern.toml, and the
// recipient maps, one TOML file for each domain.
//
// Load and LoadRecipients return values that are checked and complete, or all
// the Mistakes at once, each with its file, line and column. Nothing is guessed:
// an unknown key, a name in another case, an alias that leads nowhere and a
// missing file are mistakes. Generations keeps the newest maps without a mistake
// in service while their files are edited.
//
// It knows neither the network nor a mailbox; who imports it copies the values
// to where they are used.
package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"
)

// A Config is a checked postern.toml. Its paths are absolute, sizes in octets.
type Config struct {
	File       string        // where it was read from
	Hostname   string        // in the greeting, in Received, and as authserv-id
	Recipients string        // the folder of recipient maps
	State      string        // the folder of what must survive a restart
	Ledger     int           // how many deliveries are remembered whose clients may not have heard of them; 0: none
	Grace      time.Duration // how long transactions may take to end at shutdown
	Confine    bool          // whether the servers give up writing where they have nothing to write
	MX         MX
	MDA        MDA
	DNS        DNS
	Policy     Policy
	DNSBL      DNSLists
	Greylist   Greylist
	Filters    []Filter
	Reports    Reports
	Records    Records
	Limits     Limits
	Reload     Reload
	Log        Log

	written map[string]string // each key that is written, and its value
}

// Reload says what becomes of edits while mail flows.
type Reload struct {
	Watch       bool // whether they are noticed, or wait for postern reload
	LoseNames   int  // how many names a map may lose, and
	LosePercent int  // how many of a hundred, before that is taken for an accident
}

// MX is the SMTP server that faces the world.
type MX struct {
	Listen         []Endpoint
	ListenProxy    []Endpoint     // each connection begins with a PROXY header, v1 or v2
	TrustedProxies []netip.Prefix // who may connect to those
	XClient        []netip.Prefix // proxies that may say, with XCLIENT, who their client is
	GreetDelay     time.Duration  // how long a client has to hold its tongue before the greeting
	MaxConnections int            // at the same time
	MaxMessageSize int64          // RFC 1870
	MaxRecipients  int            // of one transaction
	BareNewline    string         // Normalize or Reject
	ReturnPath     bool           // whether to add the field, or leave it to the next hop
	Memory         int64          // what all messages in flight may hold; beyond it they go to the spool
	Spool          string         // the folder of larger messages while they are judged
	SpoolSize      int64          // what all of them may hold
	DeliverTo      Endpoint       // the next hop, which speaks LMTP
	TLS            []TLS          // the certificates that are shown; none: no STARTTLS
	Control        string         // the path of the control socket
	Metrics        *Endpoint      // where Prometheus asks; nil: nowhere
}

// What becomes of a line that does not end in CRLF.
const (
	Normalize = "normalize"
	Reject    = "reject"
)

// TLS names the files of a certificate chain and its key, in PEM.
type TLS struct{ Cert, Key string }

// MDA is the delivery agent.
type MDA struct {
	Listen         Endpoint
	Allow          []netip.Prefix // who may connect, if Listen is TCP
	MXUsers        []string       // names or numbers of the users, beside root and its own, that an MX of ours runs as
	MaxConnections int            // at the same time
	Store          string         // mailboxes are <store>/<domain>/<user>
	Durability     string         // Full or Ordered
	Group          int            // that may use the mailboxes too; 0: none
	MboxFormat     string         // "mboxrd", "mboxo" or "mboxcl2"
	MboxLocks      []string       // "dotlock", "fcntl", "flock", in the order in which they are taken
	HardLinks      bool           // whether the mailboxes of one domain share the file of a message to several
	FolderNames    string         // UTF7 or UTF8
	QuotaReply     string         // Permanent or Temporary
	QuotaWarn      []int          // at which percentages of it the user is warned, ascending
	QuotaMessage   string         // the file with the text of that; empty: one of ours
	Homes          []string       // folders below which mailboxes with a path of their own may stand
	Launcher       string         // the socket of the process that starts writers as system users
	LaunchUsers    []string       // names or numbers of the users, beside root, that it starts them for
	LaunchMinUID   int            // the least number of a user that it starts one as
	Spool          string         // the folder of large messages on their way; empty: the system's for temporary files
	Received       bool           // whether to add the trace field (RFC 5321, section 4.4)
	Control        string         // the path of the control socket
	Metrics        *Endpoint      // where Prometheus asks; nil: nowhere
}

// MXUser is the user that the MX runs as if nobody says otherwise.
const MXUser = "postern-mx"

// MDAUser is the user that the delivery agent runs as if nobody says otherwise.
const MDAUser = "postern-mda"

// How durable a message is when it is acknowledged.
const (
	Full    = "full"
	Ordered = "ordered"
)

// DNS says whom to ask.
type DNS struct {
	Servers []netip.AddrPort // empty: those of the system
}

// Log says what is logged, and how.
type Log struct {
	Format string // Text or JSON
	Level  slog.Level
}

// The formats of the log.
const (
	Text = "text"
	JSON = "json"
)

// defaults is what holds where the file says nothing.
func defaults() *Config {
	return &Config{
		Recipients: "recipients.d",
		State:      "/var/lib/postern",
		Ledger:     200_000,
		Grace:      30 * time.Second,
		Confine:    true,
		MX: MX{
			Listen:         []Endpoint{{"tcp", "[::]:25"}},
			GreetDelay:     100 * time.Millisecond,
			MaxConnections: 1000,
			MaxMessageSize: 50 << 20,
			MaxRecipients:  100,
			BareNewline:    Normalize,
			ReturnPath:     true,
			Memory:         256 << 20,
			Spool:          "/var/spool/postern",
			SpoolSize:      8 << 30,
			Control:        "/run/postern/mx/control.sock",
		},
		MDA: MDA{
			Listen:         Endpoint{"unix", "/run/postern/lmtp.sock"},
			MXUsers:        []string{MXUser},
			MaxConnections: 1000,
			Store:          "/var/mail/postern",
			Durability:     Full,
			MboxFormat:     "mboxrd",
			MboxLocks:      []string{"dotlock", "fcntl"},
			FolderNames:    UTF7,
			Launcher:       "/run/postern/launch.sock",
			LaunchUsers:    []string{MDAUser},
			LaunchMinUID:   1000,
			QuotaReply:     Permanent,
			Received:       true,
			Control:        "/run/postern/mda/control.sock",
		},
		Policy: Policy{
			Enforce: true, OnTemperror: Accept,
			DMARCReject: Reject, DMARCQuarantine: Quarantine, SeveralFrom: Reject, Junk: "Junk", KeepRefusedSize: 1 << 30,
		},
		DNSBL:    DNSLists{Threshold: 1, OnListed: Reject},
		Greylist: Greylist{Delay: 5 * time.Minute, Window: 48 * time.Hour, Keep: 36 * 24 * time.Hour},
		Reports:  Reports{Keep: 14},
		Records:  Records{Keep: 30 * day, Size: 256 << 20},
		Limits: Limits{
			Exempt: []netip.Prefix{
				netip.MustParsePrefix("127.0.0.0/8"),
				netip.MustParsePrefix("::1/128"),
			},
			ConnectionsPerClient: 50,
			ErrorsPerClient:      300,
		},
		Reload: Reload{Watch: true, LoseNames: 20, LosePercent: 50},
		Log:    Log{Format: Text, Level: slog.LevelInfo},
	}
}

// Load reads and checks the file at name. Relative paths in it count from the
// folder that it is in. The error is Mistakes, or of reading the file.
func Load(name string) (*Config, error) {
	c, _, err := read(name)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// read is Load, but that it returns what it has after an error, too; without a
// document the file could not be read.
func read(name string) (*Config, *document, error) {
	c := defaults()
	name, err := filepath.Abs(name)
	if err != nil {
		return c, nil, fmt.Errorf("read configuration: %w", err)
	}
	text, err := readBounded(name, maxConfigSize)
	if err != nil {
		return c, nil, fmt.Errorf("read configuration: %w", unread(name, err))
	}
	doc, top := parse(name, string(text))
	if !doc.broken {
		r := reader{dir: filepath.Dir(name)}
		c.File, c.written = name, flatten(top.values)
		r.top(top, c)
		doc.unknown()
	}
	return c, doc, locate(&doc.findings).sorted()
}
