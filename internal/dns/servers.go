package dns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	wire "github.com/miekg/dns"
)

// servers are the recursive servers to ask, the preferred one first. One that
// was silent several times in a row is asked last for a while: or else each
// question would wait for it before another one could answer.
type servers struct {
	path string // of a resolv.conf(5), read again from time to time; empty: the list is fixed

	mu   sync.Mutex
	list []server
	read time.Time
}

type server struct {
	addr     netip.AddrPort
	silences int       // in a row
	sick     time.Time // asked last until then
}

const (
	resolvConf    = "/etc/resolv.conf"
	maxResolvConf = 64 << 10 // octets
	rereadAfter   = 5 * time.Second
	maxServers    = 3 // as resolv.conf(5)
	sickSilences  = 3
	sickFor       = 10 * time.Second
)

// newServers returns those of list, each "address" or "address:port", and if
// there are none those of the file at path.
func newServers(list []string, path string) (*servers, error) {
	if len(list) == 0 {
		s := &servers{path: path}
		return s, s.reread(time.Now())
	}
	if len(list) > maxServers {
		return nil, fmt.Errorf("dns: %d servers, more than %d", len(list), maxServers)
	}
	addrs, err := parseServers(list)
	s := &servers{}
	s.set(addrs)
	return s, err
}

// inOrder returns whom to ask, first to last.
func (s *servers) inOrder(now time.Time) []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" && now.Sub(s.read) >= rereadAfter {
		_ = s.reread(now) // a file that is being written: the list that we have stays
	}
	order := make([]netip.AddrPort, 0, len(s.list))
	for _, sick := range []bool{false, true} {
		for _, one := range s.list {
			if now.Before(one.sick) == sick {
				order = append(order, one.addr)
			}
		}
	}
	return order
}

// report says whether the server at addr answered.
func (s *servers) report(addr netip.AddrPort, answered bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.list, func(one server) bool { return one.addr == addr })
	switch {
	case i < 0: // it has left the file meanwhile
	case answered:
		s.list[i] = server{addr: addr}
	default:
		if s.list[i].silences++; s.list[i].silences >= sickSilences {
			s.list[i].sick = now.Add(sickFor)
		}
	}
}

// sick returns the servers that are asked last.
func (s *servers) sick(now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sick []string
	for _, one := range s.list {
		if now.Before(one.sick) {
			sick = append(sick, one.addr.String())
		}
	}
	return sick
}

// set makes addrs the list. What is known of those that were on it stays.
func (s *servers) set(addrs []netip.AddrPort) {
	list := make([]server, len(addrs))
	for i, addr := range addrs {
		list[i].addr = addr
		if j := slices.IndexFunc(s.list, func(one server) bool { return one.addr == addr }); j >= 0 {
			list[i] = s.list[j]
		}
	}
	s.list = list
}

// reread reads the file. It is small, and reading it costs less than to find
// out by other means whether it has changed.
func (s *servers) reread(now time.Time) error {
	s.read = now
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) && s.list == nil {
		s.set([]netip.AddrPort{localServer})
		return nil
	}
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	conf, err := wire.ClientConfigFromReader(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("dns: %s: %w", s.path, err)
	}
	addrs, err := parseServers(conf.Servers[:min(len(conf.Servers), maxServers)])
	if err != nil {
		return fmt.Errorf("dns: %s: %w", s.path, err)
	}
	if len(addrs) == 0 {
		addrs = []netip.AddrPort{localServer}
	}
	s.set(addrs)
	return nil
}

// localServer is asked where resolv.conf names none, as resolv.conf(5) has it.
var localServer = netip.MustParseAddrPort("127.0.0.1:53")

// parseServers reads addresses, with or without a port.
func parseServers(list []string) ([]netip.AddrPort, error) {
	var (
		addrs []netip.AddrPort
		errs  []error
	)
	for _, s := range list {
		addr, err := netip.ParseAddrPort(s)
		if err != nil {
			ip, ipErr := netip.ParseAddr(s)
			addr, err = netip.AddrPortFrom(ip, 53), ipErr
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("dns: server %q is neither an IP address nor one with a port", s))
			continue
		}
		addrs = append(addrs, addr)
	}
	return addrs, errors.Join(errs...)
}
