package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The sample says all that can be said, and says what holds anyway.
func TestSample(t *testing.T) {
	name, err := filepath.Abs("../testdata/config/postern.toml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(name)
	want := defaults()
	want.File = name
	want.Hostname = "mx1.example.com"
	want.Recipients = filepath.Join(dir, "recipients.d")
	want.MX.DeliverTo = want.MDA.Listen
	want.MX.TLS = []TLS{{Cert: filepath.Join(dir, "fullchain.pem"), Key: filepath.Join(dir, "privkey.pem")}}
	want.written = c.written
	want.MX.ListenProxy, want.MX.TrustedProxies, want.MX.XClient = []Endpoint{}, []netip.Prefix{}, []netip.Prefix{}
	want.Policy.Access = filepath.Join(dir, "access.d")
	want.Policy.Forwarders = Forwarders{Networks: []netip.Prefix{}, Domains: []string{}}
	want.Policy.ARCTrusted = []string{}
	want.MDA.Homes, want.MDA.QuotaWarn = []string{}, []int{}
	want.MDA.Allow, want.DNS.Servers = []netip.Prefix{}, []netip.AddrPort{}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	r, err := LoadRecipients(c.Recipients, c.Hostname)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ local, domain, want string }{
		{"Postmaster", "", "alice@example.com=alice"},
		{"everybody+x", "example.net", "alice+x@example.com=alice detail x, bob+x@example.com=bob detail x path /home/bob/Maildir, carol+x@example.com=carol detail x, dave+all@example.com=dave detail all"},
		{"sales", "example.com", "sales@example.org=sales"},
		{"whoever", "example.org", "alice@example.com=alice"},
		{"whoever", "example.edu", "whoever@example.edu= next hop"},
	} {
		if got := r.Lookup(tt.local, tt.domain).describe(); got != tt.want {
			t.Errorf("%s@%s: got %q, want %q", tt.local, tt.domain, got, tt.want)
		}
	}
}

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "postern.toml")
	write(t, name, text)
	return Load(name)
}

func TestLoad(t *testing.T) {
	const host = "hostname = 'MX.Example.com'\n"
	tests := []struct {
		name, text string
		got        func(*Config) any
		want       any
	}{
		{"hostname", host, func(c *Config) any { return c.Hostname }, "mx.example.com"},
		{"relative", host + "state='s'", func(c *Config) any {
			return filepath.Base(filepath.Dir(c.State)) == filepath.Base(filepath.Dir(c.File))
		}, true},
		{"absolute", host + "recipients='/etc/postern//r/'", func(c *Config) any { return c.Recipients }, "/etc/postern/r"},
		{"no TLS", host, func(c *Config) any { return c.MX.TLS == nil }, true},
		{"a certificate", host + "[mx.tls]\ncert='/c'\nkey='/k'", func(c *Config) any { return fmt.Sprint(c.MX.TLS) }, "[{/c /k}]"},
		{"certificates", host + "[mx]\ntls=[{cert='/c',key='/k'},{cert='/d',key='/l'}]", func(c *Config) any { return fmt.Sprint(c.MX.TLS) }, "[{/c /k} {/d /l}]"},
		{"certificates as tables", host + "[[mx.tls]]\ncert='/c'\nkey='/k'\n[[mx.tls]]\ncert='/d'\nkey='/l'", func(c *Config) any { return fmt.Sprint(c.MX.TLS) }, "[{/c /k} {/d /l}]"},
		{"reload", host + "[reload]\nwatch=false\nlose_names=1\nlose_percent=2", func(c *Config) any { return fmt.Sprint(c.Reload) }, "{false 1 2}"},
		{"listen", host + "[mx]\nlisten=[':25','tcp:127.0.0.1:0','unix:/run/x']", func(c *Config) any { return fmt.Sprint(c.MX.Listen) }, "[tcp::25 tcp:127.0.0.1:0 unix:/run/x]"},
		{"proxy alone", host + "[mx]\nlisten=[]\nlisten_proxy=['[::1]:2525']\ntrusted_proxies=['192.0.2.1','2001:db8::/32']", func(c *Config) any { return fmt.Sprint(c.MX.Listen, c.MX.ListenProxy, c.MX.TrustedProxies) },
			"[] [tcp:[::1]:2525] [192.0.2.1/32 2001:db8::/32]"},
		{"deliver to", host + "[mx]\ndeliver_to='tcp:lmtp.example.com:24'", func(c *Config) any { return c.MX.DeliverTo }, Endpoint{"tcp", "lmtp.example.com:24"}},
		{"deliver to our own", host + "[mda]\nlisten='tcp:127.0.0.1:24'\nallow=['127.0.0.0/8']", func(c *Config) any { return c.MX.DeliverTo }, Endpoint{"tcp", "127.0.0.1:24"}},
		{"size", host + "[mx]\nmax_message_size='1.5 MB'", func(c *Config) any { return c.MX.MaxMessageSize }, int64(1_500_000)},
		{"size in octets", host + "mx.max_message_size=10_000_000", func(c *Config) any { return c.MX.MaxMessageSize }, int64(10_000_000)},
		{"grace", host + "grace='1m30s'", func(c *Config) any { return c.Grace }, 90 * time.Second},
		{"level", host + "log={level='debug',format='json'}", func(c *Config) any { return c.Log }, Log{"json", slog.LevelDebug}},
		{"servers", host + "[dns]\nservers=['127.0.0.1:5353','::1','[::1]:54']", func(c *Config) any { return fmt.Sprint(c.DNS.Servers) }, "[127.0.0.1:5353 [::1]:53 [::1]:54]"},
		{"policy", host + "[policy]\nenforce=false\non_temperror='defer'", func(c *Config) any { return fmt.Sprintf("%v %s", c.Policy.Enforce, c.Policy.OnTemperror) }, "false defer"},
		{"dispositions", host + "[policy]\ndmarc_reject='mark'\ndmarc_quarantine='reject'\nseveral_from='quarantine'", func(c *Config) any { return c.Policy.DMARCReject + c.Policy.DMARCQuarantine + c.Policy.SeveralFrom }, "markrejectquarantine"},
		{"no access rules", host, func(c *Config) any { return c.Policy.Access }, ""},
		{"access rules", host + "policy.access='/etc/a'", func(c *Config) any { return c.Policy.Access }, "/etc/a"},
		{"trusted sealers", host + "[policy]\narc_trusted=['Google.com', 'bücher.example']", func(c *Config) any { return fmt.Sprint(c.Policy.ARCTrusted) }, "[google.com xn--bcher-kva.example]"},
		{"forwarders", host + "[policy.forwarders]\nnetworks=['192.0.2.1']\ndomains=['Lists.Example']", func(c *Config) any { return fmt.Sprint(c.Policy.Forwarders) }, "{[192.0.2.1/32] [lists.example]}"},
		{"DNS lists", host + "[dnsbl]\nlists=[{zone='A.example',weight=-2},{zone='b.example',allow=true,codes=['127.0.0.2']}]", func(c *Config) any { return fmt.Sprint(c.DNSBL) }, "{[{a.example  false -2 []} {b.example  true 1 [127.0.0.2]}] 1 reject}"},
		{"DNS lists as tables", host + "[[dnsbl.lists]]\nzone='a.example'\n[[dnsbl.lists]]\nzone='b.example'\nname='B'", func(c *Config) any { return fmt.Sprint(c.DNSBL.Lists) }, "[{a.example  false 1 []} {b.example B false 1 []}]"},
		{"greylist", host + "[greylist]\nenable=true\ndelay='1m'", func(c *Config) any { return fmt.Sprint(c.Greylist) }, "{true 1m0s 48h0m0s 864h0m0s}"},
		{"filters", host + "[[filter]]\nname='a'\nconnect='unix:/run/a'\n[[filter]]\nname='b'\nconnect='127.0.0.1:1'\ntimeout='5s'\non_failure='defer'\nmax_size='1MiB'", func(c *Config) any { return fmt.Sprint(c.Filters) },
			"[{a unix:/run/a 30s accept 20971520} {b tcp:127.0.0.1:1 5s defer 1048576}]"},
		{"records", host + "[records]\nkeep='7d'\nsize='1GiB'", func(c *Config) any { return c.Records }, Records{7 * day, 1 << 30}},
		{"no records", host + "records.keep='0s'", func(c *Config) any { return c.Records.Keep }, time.Duration(0)},
		{"refused mail", host + "[policy]\nkeep_refused='14d'\nkeep_refused_size='10MiB'", func(c *Config) any { return fmt.Sprint(c.Policy.KeepRefused, c.Policy.KeepRefusedSize) }, "336h0m0s 10485760"},
		{"no limits", host + "[limits]\nerrors_per_client=0", func(c *Config) any { return c.Limits.ErrorsPerClient }, 0},
		{"MX users", host, func(c *Config) any { return fmt.Sprint(c.MDA.MXUsers) }, "[postern-mx]"},
		{"other MX users", host + "[mda]\nmx_users=['smtp','991']", func(c *Config) any { return fmt.Sprint(c.MDA.MXUsers) }, "[smtp 991]"},
		{"no MX users", host + "mda.mx_users=[]", func(c *Config) any { return len(c.MDA.MXUsers) }, 0},
		{"ledger", host + "ledger=5_000", func(c *Config) any { return c.Ledger }, 5000},
		{"no ledger", host + "ledger=0", func(c *Config) any { return c.Ledger }, 0},
		{"limits", host + "[limits]\nexempt=[]", func(c *Config) any { return len(c.Limits.Exempt) }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.got(c); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestLoadMistakes(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", `:hostname is missing; write hostname = "mx1.example.com", the name by which the world knows this host`},
		{"syntax", "hostname='mx'\n[mx\n", `:2:4: expected '.' or ']' to end table name, but got '\n' instead; put a ] behind the name of the table`},
		{"unknown", "hostname='mx'\nmax_recipients=5\n[mx]\nhostname='x'\nSpool='/x'\nspol='/y'\n[imap]\nx=1\n[limits]\nexemptt=[]", `
			:2:1: unknown key "max_recipients"; it belongs in [mx]
			:4:1: unknown key "hostname" in [mx]; it belongs at the top, before the first [table]
			:5:1: unknown key "Spool" in [mx]; it is written "spool"
			:6:1: unknown key "spol" in [mx]; did you mean "spool"?
			:7:2: unknown key "imap"; known here: confine, dns, dnsbl, filter, grace, greylist, hostname, ledger, limits, log, mda, mx, policy, recipients, records, reload, reports, state
			:10:1: unknown key "exemptt" in [limits]; did you mean "exempt"?`},
		{"judging", "hostname='mx'\n[policy]\ndmarc_reject='drop'\njunk='a/b'\n[policy.forwarders]\ndomains=['a b']\n[dnsbl]\nlists=['zen.example',{name='x',weight='2'}]\n[[filter]]\nname='a'\n[[filter]]\nname='a'\nconnect='/run/x'\ntimeout='1h'\n[greylist]\ndelay='2h'\nwindow='1h'\n[limits]\nerrors_per_client=-1", `
			:3:14: policy.dmarc_reject: "drop" is not known; write "reject" or "quarantine" or "mark"
			:4:6: policy.junk: "a/b" is not fit for the name of a folder; write junk = "Junk"
			:6:10: policy.forwarders.domains: "a b" is not a domain name: "a b" cannot stand between dots; write it as "example.com"
			:8:8: dnsbl.lists: must not be a string; write it as lists = [{ zone = "zen.spamhaus.org" }]
			:8:22: dnsbl.lists has no zone; write zone = "zen.spamhaus.org"
			:8:39: dnsbl.lists.weight must not be a string; write it as weight = 1
			:9:3: filter has no connect; write connect = "unix:/run/rspamd/milter.sock"
			:12:6: filter.name: there is another filter called "a"
			:13:9: filter.connect: "/run/x" is a path without its network; write "unix:/run/x"
			:14:9: filter.timeout: 1h0m0s is not between 1s and 5m0s
			:17:8: greylist.window: nobody can come back within 1h0m0s who has to wait for 2h0m0s
			:19:19: limits.errors_per_client: -1 is not between 0 and 1000000`},
		{"types", "hostname=['mx']\ngrace=30\n[mx]\nlisten=':25'\nmax_recipients='100'\nmax_message_size=1.5\nreturn_path='yes'\ntls='cert.pem'\n[[mda]]\n", `
			:1:10: hostname must not be an array; write it as hostname = "mx1.example.com"
			:2:7: grace must not be a whole number; write it as grace = "30s"
			:4:8: mx.listen must not be a string; write it as listen = ["[::]:25"]
			:5:16: mx.max_recipients must not be a string; write it as max_recipients = 100
			:6:18: mx.max_message_size must not be a number with a fraction; write it as max_message_size = "1.5GiB", with its unit
			:7:13: mx.return_path must not be a string; write it as return_path = true
			:8:5: mx.tls must not be a string; write it as tls = { cert = "fullchain.pem", key = "privkey.pem" }
			:9:3: mda must not be an array of tables; write it as [mda]`},
		{"values", "hostname='mx 1'\nstate=''\ngrace='2h'\n[mx]\nlisten=['25', '[::]:25','[::]:25',\n'/run/x','::1:25',':99999','unix:']\nmax_message_size='5 megs'\nmax_recipients=0\nmemory='1KiB'\nbare_newline='strip'\ndeliver_to='tcp:127.0.0.1:0'\n", `
			:1:10: hostname: "mx 1" is not a domain name: "mx 1" cannot stand between dots; write it as "example.com"
			:2:7: state: a path must not be empty
			:3:7: grace: 2h0m0s is not between 1s and 1h0m0s
			:5:9: mx.listen: "25" is not an address with a port; write it as "192.0.2.1:25", "[2001:db8::1]:25" or "unix:/run/x.sock"
			:5:25: mx.listen: "[::]:25" is there twice; remove one of them
			:6:1: mx.listen: "/run/x" is a path without its network; write "unix:/run/x"
			:6:10: mx.listen: "::1:25" is not an address with a port; write it as "192.0.2.1:25", "[2001:db8::1]:25" or "unix:/run/x.sock"
			:6:19: mx.listen: ":99999" is not an address with a port; write it as "192.0.2.1:25", "[2001:db8::1]:25" or "unix:/run/x.sock"
			:6:28: mx.listen: a path must not be empty
			:7:18: mx.max_message_size: "5 megs" is not a size; write it as "50MiB", "2GB" or 65536
			:8:16: mx.max_recipients: 0 is not between 1 and 100000
			:9:8: mx.memory: 1KiB is not between 1MiB and 1024TiB
			:10:14: mx.bare_newline: "strip" is not known; write "normalize" or "reject"
			:11:12: mx.deliver_to: tcp:127.0.0.1:0 cannot be connected to; write it as "tcp:127.0.0.1:24"`},
		{"more values", "hostname='mx'\ngrace='30'\n[limits]\nexempt=['10.0.0.1/8','nowhere', 'fe80::1%eth0']\n[dns]\nservers=['localhost','127.0.0.1:0']\n[mda]\nlisten='unix:/" + strings.Repeat("x", 107) + "'\ndurability='none'\n[log]\nlevel='trace'", `
			:2:7: grace: "30" is not a span of time; write it as "30s", "5m", "1h30m" or "30d"
			:4:9: limits.exempt: "10.0.0.1/8" has bits set beyond its length; write "10.0.0.0/8" or "10.0.0.1"
			:4:22: limits.exempt: "nowhere" is not a network; write it as "192.0.2.0/24", "2001:db8::/32" or "192.0.2.1"
			:4:33: limits.exempt: "fe80::1%eth0" is not a network; write it as "192.0.2.0/24", "2001:db8::/32" or "192.0.2.1"
			:6:10: dns.servers: "localhost" is not the address of a server; write it as "127.0.0.1" or "127.0.0.1:5353"
			:6:22: dns.servers: "127.0.0.1:0" is not the address of a server; write it as "127.0.0.1" or "127.0.0.1:5353"
			:8:8: mda.listen: "/` + strings.Repeat("x", 107) + `" is longer than the 107 octets that a UNIX socket may have
			:9:12: mda.durability: "none" is not known; write "full" or "ordered"
			:11:7: log.level: "trace" is not known; write "debug" or "info" or "warn" or "error"`},
		{"spans", "hostname='mx'\n[records]\nkeep='1m'\nsize='1MiB'\n[policy]\nkeep_refused='100d'\n[greylist]\nwindow='99999d'", `
			:3:6: records.keep: 1m0s is less than an hour; write "0s" to keep no records
			:4:6: records.size: 1MiB is not between 16MiB and 1024TiB
			:6:14: policy.keep_refused: 100d is not between 0s and 90d
			:8:8: greylist.window: "99999d" is not a span of time; write it as "30s", "5m", "1h30m" or "30d"`},
		{"at odds", "hostname='mx'\n[mx]\nlisten_proxy=['127.0.0.1:25']\nmax_message_size='10GiB'\ntls={cert='x'}\n[mda]\nlisten='127.0.0.1:24'", `
			:4:18: mx.max_message_size: a spool_size of 8GiB does not hold one message of max_message_size, 10GiB
			:5:1: mx.tls has no key; write tls = { cert = "fullchain.pem", key = "privkey.pem" }`},
		{"both", "hostname='mx'\n[mx]\nlisten_proxy=['127.0.0.1:25', '[::]:25']\ntrusted_proxies=['192.0.2.1']", `
			:3:31: mx.listen_proxy: tcp:[::]:25 is in listen too; a listener is either with the PROXY header or without; if all are with it, write listen = []`},
		{"no listener", "hostname='mx'\n[mx]\nlisten=[]\ntrusted_proxies=['192.0.2.0/24']", `
			:3:8: mx.listen: the MX listens nowhere; write listen = ["[::]:25"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.text)
			got := lines(t, err)
			for i, line := range got {
				_, got[i], _ = strings.Cut(line, "postern.toml")
				got[i] = strings.Replace(got[i], ": hostname is missing", ":hostname is missing", 1)
			}
			compare(t, got, tt.want)
		})
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "10B": 10, "1KiB": 1024, "1 kB": 1000, "1KB": 1000, "1.5MiB": 1572864, "2GiB": 2 << 30, "1TiB": 1 << 40, "3TB": 3e12,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "1e3", "0x10", "1_000", "inf", "nan", "1 M", "1mib", "1 MiBB", "9000000TiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for _, n := range []int64{0, 1, 1023, 1024, 50 << 20, 1 << 40, 1<<40 + 1} {
		if got, err := parseSize(formatSize(n)); err != nil || got != n {
			t.Errorf("%d is written %q and read %d, %v", n, formatSize(n), got, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"alice", "bob", "max_message_size"}
	for key, want := range map[string]string{
		"alcie": "alice", "alic": "alice", "allice": "alice", "alyce": "alice", "bop": "bob", "x": "", "zzz": "", "": "",
		"message_size": "max_message_size", "size": "", "lia": "",
	} {
		if got := nearest(key, slices.Values(known)); got != want {
			t.Errorf("%q is taken for %q, not %q", key, got, want)
		}
	}
}

// quotes reports whether text is what is shown of a line, or a part of that.
func quotes(text, line string) bool {
	shown := strings.Join(excerptCells(line), "")
	return text == shown || strings.Contains(shown, strings.TrimSuffix(strings.TrimPrefix(text, "…"), "…"))
}

// FuzzLoad reads any text as a configuration: it is understood, or every
// mistake says what is wrong and where, in the text that was read.
func FuzzLoad(f *testing.F) {
	f.Add("hostname='mx'\n[mx]\nlisten=[':25']\ntls={cert='a',key='b'}\nmax_message_size='1MiB'\n")
	f.Add("hostname='mx'\n[mx.tls]\ncert=1\n[[log]]\n'x y'.z=[[1]]\n[mda]\nallow=['::/0']\n")
	f.Fuzz(func(t *testing.T, text string) {
		doc, top := parse("postern.toml", text)
		if !doc.broken {
			reader{dir: "/"}.top(top, defaults())
			doc.unknown()
		}
		rows := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
		for _, m := range locate(&doc.findings) {
			switch {
			case m.Message == "" || m.Line < 0 || m.Line > len(rows):
				t.Errorf("%q: %+v", text, m)
			case m.Line > 0 && (m.Column < 1 || !quotes(m.Text, strings.TrimSuffix(rows[m.Line-1], "\r"))):
				t.Errorf("%q: %+v", text, m)
			case m.Line == 0 && !slices.Contains([]string{"hostname is missing"}, m.Message):
				t.Errorf("%q: %+v is nowhere", text, m)
			}
		}
	})
}

// What is no file, or does not end, is told of at once: a reload that waits for it
// would keep a server from ending.
func TestLoadWhatIsNoFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "postern.toml")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{fifo: "hostname is missing", "/dev/zero": "/dev/zero is larger than 4MiB"} {
		if _, err := Load(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
