package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

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
