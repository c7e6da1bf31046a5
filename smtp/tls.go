package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"time"
)

// StartTLS sends what was gathered and continues under TLS as the server (RFC
// 3207, section 4). What the peer sent in the clear behind STARTTLS is dropped: it must
// not be taken for something said under TLS. On an error the connection is good for
// nothing.
func (c *Conn) StartTLS(ctx context.Context, config *tls.Config) error {
	c.r = c.w
	if err := c.Flush(); err != nil {
		return err
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return err
	}
	conn := tls.Server(c.nc, config)
	if err := shakeHands(ctx, conn); err != nil {
		return fmt.Errorf("smtp: TLS handshake: %w", err)
	}
	c.releaseBuffer()
	c.mu.Lock()
	c.nc = conn
	c.mu.Unlock()
	return nil
}

// shakeHands does so on a stack of its own: a handshake takes 16 KiB of it, which
// the connection would keep for as long as it waits for commands. A panic is the
// caller's.
func shakeHands(ctx context.Context, conn *tls.Conn) error {
	var (
		err      error
		panicked any
		done     sync.WaitGroup
	)
	done.Go(func() {
		defer func() { panicked = recover() }()
		err = conn.HandshakeContext(ctx)
	})
	done.Wait()
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// TLS describes the TLS layer, as "TLSv1.3 TLS_AES_128_GCM_SHA256"; it returns
// "" where there is none.
func (c *Conn) TLS() string {
	conn, ok := c.nc.(*tls.Conn)
	if !ok {
		return ""
	}
	state := conn.ConnectionState()
	version := "TLSv" + strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")
	return version + " " + tls.CipherSuiteName(state.CipherSuite)
}
