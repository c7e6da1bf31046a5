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
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	text, err := os.ReadFile(name)
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

// A reader copies tables to a Config.
type reader struct {
	dir string // where relative paths count from
}

func (r reader) top(t *table, c *Config) {
	r.hostname(t, &c.Hostname)
	r.path(t, "recipients", &c.Recipients)
	r.path(t, "state", &c.State)
	t.count("ledger", &c.Ledger, 0, 100_000_000)
	t.duration("grace", &c.Grace, time.Second, time.Hour)
	t.flag("confine", &c.Confine)
	r.mda(t.sub("mda"), &c.MDA)
	c.MX.DeliverTo = c.MDA.Listen
	r.mx(t.sub("mx"), &c.MX)
	list(t.sub("dns"), "servers", `servers = ["127.0.0.1:53"]`, &c.DNS.Servers, parseServer)

	r.policy(t.sub("policy"), &c.Policy)
	r.dnsbl(t.sub("dnsbl"), &c.DNSBL)
	t.sub("greylist").greylist(&c.Greylist)
	r.filters(t, &c.Filters)
	t.sub("reports").reports(&c.Reports)
	t.sub("records").records(&c.Records)
	t.sub("limits").limits(&c.Limits)

	reload := t.sub("reload")
	reload.flag("watch", &c.Reload.Watch)
	reload.count("lose_names", &c.Reload.LoseNames, 0, 1_000_000_000)
	reload.count("lose_percent", &c.Reload.LosePercent, 0, 100)

	log := t.sub("log")
	log.oneOf("format", &c.Log.Format, Text, JSON)
	log.level("level", &c.Log.Level)
}

func (r reader) hostname(t *table, into *string) {
	if !t.has("hostname") {
		t.missing("hostname is missing", `write hostname = "mx1.example.com", the name by which the world knows this host`, "hostname")
	}
	parsed(t, "hostname", `hostname = "mx1.example.com"`, into, checkDomain)
}

func (r reader) mx(t *table, mx *MX) {
	list(t, "listen", `listen = ["[::]:25"]`, &mx.Listen, func(s string) (Endpoint, error) { return parseEndpoint(s, r.dir) })
	list(t, "listen_proxy", `listen_proxy = ["[::]:2525"]`, &mx.ListenProxy, func(s string) (Endpoint, error) {
		e, err := parseEndpoint(s, r.dir)
		if err == nil && slices.Contains(mx.Listen, e) {
			err = hinted{fmt.Sprintf("%v is in listen too", e), "a listener is either with the PROXY header or without; if all are with it, write listen = []"}
		}
		return e, err
	})
	list(t, "trusted_proxies", `trusted_proxies = ["192.0.2.0/24"]`, &mx.TrustedProxies, parseNetwork)
	list(t, "xclient", `xclient = ["192.0.2.25"]`, &mx.XClient, parseNetwork)
	t.duration("greet_delay", &mx.GreetDelay, 0, time.Minute)
	t.count("max_connections", &mx.MaxConnections, 1, 1_000_000)
	t.size("max_message_size", &mx.MaxMessageSize, 1, 16<<30)
	t.count("max_recipients", &mx.MaxRecipients, 1, 100_000)
	t.oneOf("bare_newline", &mx.BareNewline, Normalize, Reject)
	t.flag("return_path", &mx.ReturnPath)
	t.size("memory", &mx.Memory, 1<<20, 1<<50)
	r.path(t, "spool", &mx.Spool)
	t.size("spool_size", &mx.SpoolSize, 1<<20, 1<<50)
	r.endpoint(t, "deliver_to", &mx.DeliverTo)
	r.tls(t, &mx.TLS)
	r.path(t, "control", &mx.Control)
	r.metrics(t, &mx.Metrics)
	t.checkMX(mx)
}

// checkMX notes what is wrong with values that are right each for itself.
func (t *table) checkMX(mx *MX) {
	if len(mx.Listen)+len(mx.ListenProxy) == 0 && t.has("listen") {
		t.complain("listen", hinted{"the MX listens nowhere", `write listen = ["[::]:25"]`})
	}
	if mx.SpoolSize < mx.MaxMessageSize {
		key := "spool_size"
		if !t.has(key) {
			key = "max_message_size"
		}
		t.complain(key, fmt.Errorf("a spool_size of %s does not hold one message of max_message_size, %s", formatSize(mx.SpoolSize), formatSize(mx.MaxMessageSize)))
	}
	if e := mx.DeliverTo; e.Network == "tcp" && (strings.HasPrefix(e.Address, ":") || strings.HasSuffix(e.Address, ":0")) {
		t.complain("deliver_to", hinted{fmt.Sprintf("%v cannot be connected to", e), `write it as "tcp:127.0.0.1:24"`})
	}
}

// tls reads a certificate, or an array of them.
func (r reader) tls(t *table, into *[]TLS) {
	const example = `tls = { cert = "fullchain.pem", key = "privkey.pem" }`
	var all []*table
	if _, one := t.values["tls"].(map[string]any); one {
		all = append(all, t.sub("tls"))
	} else {
		all = t.tables("tls", example)
	}
	for _, tls := range all {
		var c TLS
		r.path(tls, "cert", &c.Cert)
		r.path(tls, "key", &c.Key)
		for _, key := range []string{"cert", "key"} {
			if !tls.has(key) {
				tls.missing(fmt.Sprintf("mx.tls has no %s", key), "write "+example, key)
			}
		}
		*into = append(*into, c)
	}
}

func (r reader) mda(t *table, mda *MDA) {
	r.endpoint(t, "listen", &mda.Listen)
	list(t, "allow", `allow = ["127.0.0.1"]`, &mda.Allow, parseNetwork)
	list(t, "mx_users", fmt.Sprintf("mx_users = [%q]", MXUser), &mda.MXUsers, parseUser)
	t.count("max_connections", &mda.MaxConnections, 1, 1_000_000)
	r.mailboxes(t, mda)
	r.maybePath(t, "spool", "/var/tmp", &mda.Spool)
	t.flag("received", &mda.Received)
	r.path(t, "control", &mda.Control)
	r.metrics(t, &mda.Metrics)
}

func (r reader) path(t *table, key string, into *string) {
	*into, _ = parsePath(*into, r.dir)
	parsed(t, key, fmt.Sprintf("%s = %q", key, *into), into, func(s string) (string, error) { return parsePath(s, r.dir) })
}

// maybePath reads a path that may be empty.
func (r reader) maybePath(t *table, key, example string, into *string) {
	parsed(t, key, fmt.Sprintf("%s = %q", key, example), into, func(s string) (string, error) {
		if s == "" {
			return s, nil
		}
		return parsePath(s, r.dir)
	})
}

func (r reader) endpoint(t *table, key string, into *Endpoint) {
	parsed(t, key, fmt.Sprintf("%s = %q", key, *into), into, func(s string) (Endpoint, error) { return parseEndpoint(s, r.dir) })
}

// metrics reads an endpoint that may be none.
func (r reader) metrics(t *table, into **Endpoint) {
	parsed(t, "metrics", `metrics = "127.0.0.1:9725"`, into, func(s string) (*Endpoint, error) {
		if s == "" {
			return nil, nil
		}
		e, err := parseEndpoint(s, r.dir)
		return &e, err
	})
}

func (t *table) level(key string, into *slog.Level) {
	name := "info"
	t.oneOf(key, &name, "debug", "info", "warn", "error")
	_ = into.UnmarshalText([]byte(name)) // knows these four
}
