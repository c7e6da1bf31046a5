package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/activation"

	"postern/config"
	"postern/internal/control"
	"postern/mx"
)

// sockets are those that systemd opened for us, by FileDescriptorName: "smtp",
// "smtp-proxy", "lmtp" and "launch". They replace what the configuration says for each.
type sockets map[string][]net.Listener

func systemdSockets() (sockets, error) {
	s, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	return s, nil
}

// listen returns the socket from systemd called name, or else listens at e.
func (s sockets) listen(name string, e config.Endpoint) (net.Listener, error) {
	if given := s[name]; len(given) > 0 {
		return given[0], nil
	}
	if e.Network == "unix" {
		// The permissions of the folder say who may come here; the socket lets
		// the group in, in which an MX with a user of its own is.
		return listenUnix(e.Address, 0o660)
	}
	return net.Listen(e.Network, e.Address)
}

// listenUnix listens at path, and makes the folder if it is missing.
func listenUnix(path string, mode fs.FileMode) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("folder of the socket: %w", err)
	}
	return control.Listen(path, mode)
}

// listenMX returns the listeners of the MX.
func (s sockets) listenMX(c *config.MX) ([]mx.Listener, error) {
	var listeners []mx.Listener
	add := func(name string, endpoints []config.Endpoint, l mx.Listener) error {
		for _, given := range s[name] {
			l.Listener = given
			listeners = append(listeners, l)
		}
		if len(s[name]) > 0 {
			return nil
		}
		for _, e := range endpoints {
			opened, err := s.listen(name, e)
			if err != nil {
				return err
			}
			l.Listener = opened
			listeners = append(listeners, l)
		}
		return nil
	}
	if err := add("smtp", c.Listen, mx.Listener{}); err != nil {
		return nil, err
	}
	return listeners, add("smtp-proxy", c.ListenProxy, mx.Listener{Proxy: true, Trusted: c.TrustedProxies})
}
