package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"postern/config"
	"postern/internal/certificate"
	"postern/internal/launch"
	"postern/internal/logging"
	"postern/internal/metrics"
	"postern/internal/spool"
	"postern/internal/writer"
	"postern/lmtp"
	"postern/mail"
	"postern/mailbox"
	"postern/mda"
	"postern/mx"
	"postern/policy"
)

const (
	// inMemory is how many octets of one message wait in memory; longer ones
	// go to a file.
	inMemory = 256 << 10
	// spareSpace is what a file system must have left for mail to be taken.
	spareSpace = 64 << 20
)

// parts is what the servers are made of: the configuration, and the things that are
// built from it.
type parts struct {
	config     *config.Config
	log        *slog.Logger
	recipients *config.Generations
	tally      *tally
	metrics    *metrics.Metrics
	decisions  *decisions   // nil: none are kept
	state      string       // the folder of what must survive a restart; "" where nothing must
	confined   *atomic.Bool // nil: no server runs; true: it reads only where it did at start
}

// load reads the configuration and the recipients that it names. The log goes to w.
// What must survive a restart is kept in the folder named half in the state folder,
// since the halves may run as different users. If half is empty, nothing is kept.
func load(path string, w io.Writer, half string) (*parts, error) {
	p, err := newParts(path, w)
	if err != nil {
		return nil, err
	}
	c := p.config
	if half != "" {
		p.state = filepath.Join(c.State, half)
		// If one of them cannot be made, the log will say what that means.
		_ = os.MkdirAll(c.State, 0o755)
		_ = os.Mkdir(p.state, 0o700)
	}
	p.recipients, err = config.Open(c.Recipients, p.recipientOptions())
	return p, err
}

// newParts reads the configuration alone.
func newParts(path string, w io.Writer) (*parts, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return &parts{
		config: c, log: logging.New(w, c.Log.Format, c.Log.Level),
		tally: new(tally), metrics: metrics.New(version()), confined: new(atomic.Bool),
	}, nil
}

func (p *parts) recipientOptions() config.Options {
	c := p.config
	return config.Options{
		Hostname: c.Hostname, Keep: p.kept("maps"), Log: p.log,
		LoseNames: c.Reload.LoseNames, LosePercent: c.Reload.LosePercent,
		Forbidden: p.forbidden,
	}
}

// kept returns the path of a file that survives a restart; "" where nothing does.
func (p *parts) kept(name string) string {
	if p.state == "" {
		return ""
	}
	return filepath.Join(p.state, name)
}

// spool returns where messages wait while they are judged and delivered.
func (p *parts) spool(dir string) *spool.Spool {
	return &spool.Spool{
		Dir: dir, InMemory: inMemory,
		MaxMemory: p.config.MX.Memory, MaxFiles: p.config.MX.SpoolSize,
	}
}

// mxServer returns the server that faces the world, as far as the configuration alone
// determines it. It has no next hop and no certificate, limits no client's share, and
// records nothing, so that postern try can use it, too.
func (p *parts) mxServer(judge *policy.Judge) *mx.Server {
	c := p.config
	return &mx.Server{
		Hostname:          c.Hostname,
		Spool:             p.spool(c.MX.Spool),
		Directory:         func() mx.Directory { return directory{p.recipients.Current()} },
		Judge:             judge,
		Log:               p.log,
		MaxSize:           c.MX.MaxMessageSize,
		MaxRecipients:     c.MX.MaxRecipients,
		MaxConnections:    c.MX.MaxConnections,
		XClient:           c.MX.XClient,
		GreetDelay:        c.MX.GreetDelay,
		RejectBareNewline: c.MX.BareNewline == config.Reject,
		ReturnPath:        c.MX.ReturnPath,
		Timeouts:          mx.Timeouts{Grace: c.Grace},
	}
}

// attach makes srv hand messages to next, limit the share of each client, and record
// outcomes.
func (p *parts) attach(srv *mx.Server, next *nextHop) {
	c := p.config
	srv.Next = &skipVerify{Deliverer: timed{next, p.metrics, stageVerify, stageHandOn}, ours: next.Remembers}
	srv.NextOffer = next.Offer
	srv.Heard = next.heard
	srv.Space = space(c.MX.Spool, spareSpace)
	srv.PerClient = mx.PerClient{
		Connections: c.Limits.ConnectionsPerClient,
		Errors:      c.Limits.ErrorsPerClient,
		Exempt:      c.Limits.Exempt,
	}
	srv.Record = func(o mail.Outcome) {
		p.outcome(o)
		p.decisions.outcome(o)
	}
}

// certificates returns what the MX shows to clients that ask for TLS; nil: nothing.
func (p *parts) certificates() (*certificate.Set, error) {
	if len(p.config.MX.TLS) == 0 {
		return nil, nil
	}
	var files []certificate.Files
	for _, f := range p.config.MX.TLS {
		files = append(files, certificate.Files(f))
	}
	certs := certificate.New(files, p.config.Hostname, p.log)
	if err := certs.Reload(); err != nil && certs.None() { // with some of them we go on; the log tells of the others
		return nil, err
	}
	return certs, nil
}

// openStore returns the store of mailboxes, whose files syncer syncs (nil: system
// calls). It fails if the configuration asks for what the store cannot do.
func (p *parts) openStore(syncer mailbox.Syncer) (*store, error) {
	c := p.config
	s := &store{path: c.MDA.Store, log: p.log, warnAt: c.MDA.QuotaWarn, settings: p.writerSettings()}
	var err error
	if s.options, err = storeOptions(s.settings); err != nil {
		return nil, err
	}
	s.options.Syncer = syncer
	s.warned = s.warnOnce
	s.writers = &writer.Pool{Dial: func(account string) (net.Conn, error) { return launch.Dial(c.MDA.Launcher, account) }}
	if c.MDA.Group != 0 { // each file and folder gets it: no setgid, which a sandbox may forbid
		s.options.Modes = mailbox.Modes{File: 0o660, Dir: 0o770, Group: c.MDA.Group}
	}
	if s.warning, err = newQuotaWarning(c.MDA.QuotaMessage); err != nil {
		return nil, err
	}
	if err := s.probe(p.log); err != nil {
		return nil, err
	}
	s.probeHomes(p.log, p.recipients.Current().All())
	return s, nil
}

// agent returns the delivery agent of the mailboxes in store.
func (p *parts) agent(store *store) *mda.Agent {
	c := p.config
	boxes := mailboxes{store: store, recipients: p.recipients.At}
	agent := &mda.Agent{
		Lookup:    boxes.lookup,
		Space:     space(c.MDA.Store, spareSpace),
		OverQuota: mail.MailboxFull,
		Share:     c.MDA.HardLinks,
		Record:    p.outcome,
		Took:      p.metrics.Stage,
	}
	if c.MDA.QuotaReply == config.Temporary {
		agent.OverQuota = mail.FullForNow
	}
	return agent
}

// lmtpServer returns the server in front of the delivery agent.
func (p *parts) lmtpServer(agent *mda.Agent) (*lmtp.Server, *mda.Ledger) {
	c := p.config
	next, ledger := p.stack(agent)
	if p.decisions != nil {
		next = recording{next, p}
	}
	return &lmtp.Server{
		Hostname:          c.Hostname,
		Next:              next,
		Trusts:            lmtp.TrustUsers(p.ourUsers()...),
		Heard:             ledger.Heard,
		Spool:             p.spool(c.MDA.Spool),
		Log:               p.log,
		Networks:          c.MDA.Allow,
		Received:          c.MDA.Received,
		RejectBareNewline: c.MX.BareNewline == config.Reject,
		Record:            p.outcome,
		MaxSize:           c.MX.MaxMessageSize + mail.MaxTrace, // what the server in front of us puts on top
		MaxRecipients:     10_000,                              // an alias of our MX may stand for many
		MaxConnections:    c.MDA.MaxConnections,
		Timeouts:          lmtp.Timeouts{Grace: c.Grace},
	}, ledger
}

// A directory answers the MX from one generation of the recipient maps.
type directory struct{ *config.Recipients }

// Generation implements mx.Directory.
func (d directory) Generation() string { return d.ID() }

// Expand implements mx.Directory.
func (d directory) Expand(addr mail.Address) ([]mail.Recipient, error) {
	members, err := lookup(d.Recipients, addr)
	if err != nil {
		return nil, err
	}
	rcpts := make([]mail.Recipient, len(members))
	for i, m := range members {
		rcpts[i] = recipient(m)
	}
	return rcpts, nil
}

// recipient returns m as the next hop is asked about it.
func recipient(m config.Member) mail.Recipient {
	return mail.Recipient{
		Address:   mail.Address{Local: m.Local, Domain: m.Domain},
		Known:     !m.NextHop,
		Unbounded: !m.NextHop && m.Quota == 0 && m.Path == "" && m.Account == "",
	}
}

// lookup returns the members that addr stands for, or the reply that refuses it.
func lookup(r *config.Recipients, addr mail.Address) ([]config.Member, error) {
	switch result := r.Lookup(addr.Local, addr.Domain); result.Status {
	case config.Known:
		return result.Members, nil
	case config.Refused:
		return nil, mail.NoSuchUser.Saying("%s", result.Text)
	case config.Unknown:
		return nil, mail.NoSuchUser
	default:
		return nil, mail.NoRelay
	}
}

func texts[T fmt.Stringer](values []T) []string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String()
	}
	return texts
}
