package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Endpoint is where one listens or connects to, in the words of net.Listen
// and net.Dial: Network is "tcp" or "unix".
type Endpoint struct{ Network, Address string }

// String returns e as it is written in a configuration: "tcp:[::]:25".
func (e Endpoint) String() string { return e.Network + ":" + e.Address }

// maxSocketPath is what the address of a UNIX socket holds on Linux, without
// the final NUL (unix(7)).
const maxSocketPath = 107

// parseEndpoint reads "tcp:host:port", "host:port" or "unix:/path". A relative
// path counts from dir.
func parseEndpoint(s, dir string) (Endpoint, error) {
	if file, isUnix := strings.CutPrefix(s, "unix:"); isUnix {
		file, err := parsePath(file, dir)
		if err == nil && len(file) > maxSocketPath {
			err = fmt.Errorf("%q is longer than the %d octets that a UNIX socket may have", file, maxSocketPath)
		}
		return Endpoint{"unix", file}, err
	}
	address := strings.TrimPrefix(s, "tcp:")
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	switch {
	case strings.HasPrefix(s, "/"):
		return Endpoint{}, hinted{fmt.Sprintf("%q is a path without its network", s), fmt.Sprintf(`write "unix:%s"`, s)}
	case err != nil || perr != nil || strings.ContainsAny(host, " /"):
		return Endpoint{}, hinted{fmt.Sprintf("%q is not an address with a port", s), `write it as "192.0.2.1:25", "[2001:db8::1]:25" or "unix:/run/x.sock"`}
	}
	return Endpoint{"tcp", net.JoinHostPort(host, strconv.FormatUint(n, 10))}, nil
}

// parsePath returns s as an absolute path. A relative one counts from dir.
func parsePath(s, dir string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("a path must not be empty")
	case strings.ContainsRune(s, 0):
		return "", fmt.Errorf("%q has a NUL, which no path has", s)
	case filepath.IsAbs(s):
		return filepath.Clean(s), nil
	}
	return filepath.Join(dir, s), nil
}

// parseNetwork reads "192.0.2.0/24" or a single address.
func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, hinted{fmt.Sprintf("%q is not a network", s), `write it as "192.0.2.0/24", "2001:db8::/32" or "192.0.2.1"`}
	}
	if p.Masked() != p {
		return p, hinted{fmt.Sprintf("%q has bits set beyond its length", s), fmt.Sprintf("write %q or %q", p.Masked(), p.Addr())}
	}
	return p, nil
}

// parseServer reads the address of a DNS server. Its port is 53 unless said.
func parseServer(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		return ap, hinted{fmt.Sprintf("%q is not the address of a server", s), `write it as "127.0.0.1" or "127.0.0.1:5353"`}
	}
	return ap, nil
}

// parseUser reads the name or the number of a user.
func parseUser(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, " :/\t\n\x00") {
		return "", hinted{fmt.Sprintf("%q is not a user", s), fmt.Sprintf(`write a name or a number, as %q or "991"`, MXUser)}
	}
	return s, nil
}

// units are the units of sizes, the longer names before those they end in.
var units = []struct {
	name   string
	octets float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1},
}

// parseSize reads "50MiB", "1.5 GB", or a number of octets.
func parseSize(s string) (int64, error) {
	number, factor := s, 1.0
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			number, factor = strings.TrimRight(n, " "), u.octets
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	f *= factor
	if err != nil || strings.ContainsAny(number, "eExXpP_iInN+-") || f >= math.MaxInt64 {
		return 0, hinted{fmt.Sprintf("%q is not a size", s), `write it as "50MiB", "2GB" or 65536`}
	}
	return int64(f), nil
}

// formatSize returns n as it would be written.
func formatSize(n int64) string {
	for _, u := range slices.Backward(units[:4]) {
		if octets := int64(u.octets); n >= octets && n%octets == 0 {
			return fmt.Sprintf("%d%s", n/octets, u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}

// oneOf reads a string that is one of a few.
func (t *table) oneOf(key string, into *string, choices ...string) {
	parsed(t, key, fmt.Sprintf("%s = %q", key, choices[0]), into, func(s string) (string, error) {
		if !slices.Contains(choices, s) {
			return s, hinted{fmt.Sprintf("%q is not known", s), "write " + orList(choices)}
		}
		return s, nil
	})
}

func orList(choices []string) string {
	quoted := make([]string, len(choices))
	for i, c := range choices {
		quoted[i] = strconv.Quote(c)
	}
	return strings.Join(quoted, " or ")
}

// flag reads true or false.
func (t *table) flag(key string, into *bool) {
	if v, ok := get[bool](t, key, fmt.Sprintf("%s = %v", key, *into)); ok {
		*into = v
	}
}

// count reads a whole number between least and most.
func (t *table) count(key string, into *int, least, most int64) {
	v, ok := get[int64](t, key, fmt.Sprintf("%s = %d", key, *into))
	switch {
	case !ok:
	case v < least || v > most:
		t.complain(key, fmt.Errorf("%d is not between %d and %d", v, least, most))
	default:
		*into = int(v)
	}
}

// size reads a number of octets, with or without a unit, between least and
// most.
func (t *table) size(key string, into *int64, least, most int64) {
	within := func(n int64) (int64, error) {
		if n < least || n > most {
			return 0, fmt.Errorf("%s is not between %s and %s", formatSize(n), formatSize(least), formatSize(most))
		}
		return n, nil
	}
	if n, isNumber := t.values[key].(int64); isNumber {
		t.known[key] = true
		n, err := within(n)
		assign(t, key, into, n, err)
		return
	}
	example := fmt.Sprintf("%s = %q", key, cmp.Or(strings.TrimPrefix(formatSize(*into), "0"), "2GiB"))
	switch f, isFloat := t.values[key].(float64); {
	case isFloat && f >= 1024: // so many GiB nobody means
		example = fmt.Sprintf("%s = %.0f, in octets", key, f)
	case isFloat:
		example = fmt.Sprintf(`%s = "%sGiB", with its unit`, key, strconv.FormatFloat(f, 'f', -1, 64))
	}
	parsed(t, key, example, into, func(s string) (int64, error) {
		n, err := parseSize(s)
		if err != nil {
			return 0, err
		}
		return within(n)
	})
}

// duration reads a span of time between least and most.
func (t *table) duration(key string, into *time.Duration, least, most time.Duration) {
	parsed(t, key, fmt.Sprintf("%s = %q", key, formatSpan(*into)), into, func(s string) (time.Duration, error) {
		d, err := ParseSpan(s)
		switch {
		case err != nil:
			return 0, hinted{fmt.Sprintf("%q is not a span of time", s), `write it as "30s", "5m", "1h30m" or "30d"`}
		case d < least || d > most:
			return 0, fmt.Errorf("%s is not between %s and %s", formatSpan(d), formatSpan(least), formatSpan(most))
		}
		return d, nil
	})
}

const day = 24 * time.Hour

// ParseSpan reads "30s", "1h30m", or "30d".
func ParseSpan(s string) (time.Duration, error) {
	if text, isDays := strings.CutSuffix(s, "d"); isDays {
		n, err := strconv.ParseUint(text, 10, 16)
		return time.Duration(n) * day, err
	}
	return time.ParseDuration(s)
}

// formatSpan returns d as it would be written.
func formatSpan(d time.Duration) string {
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// parsed reads a string and keeps what parse makes of it.
func parsed[T any](t *table, key, example string, into *T, parse func(string) (T, error)) {
	s, ok := get[string](t, key, example)
	if !ok {
		return
	}
	v, err := parse(s)
	assign(t, key, into, v, err)
}

func assign[T any](t *table, key string, into *T, v T, err error) {
	if err != nil {
		t.complain(key, err)
		return
	}
	*into = v
}

// list reads an array of strings and keeps what parse makes of them, each once;
// or nothing if one is wrong, lest one mistake look like two.
func list[T comparable](t *table, key, example string, into *[]T, parse func(string) (T, error)) {
	all, wrong := []T{}, false
	there := t.each(key, example, func(_ int, s string) error {
		v, err := parse(s)
		if err == nil && slices.Contains(all, v) {
			err = hinted{fmt.Sprintf("%q is there twice", s), "remove one of them"}
		}
		wrong = wrong || err != nil
		all = append(all, v)
		return err
	})
	if there && !wrong {
		*into = all
	}
}
