package smtp

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A message that takes long to send is not cut off while its octets flow.
func TestRFC5321_4_5_3_2_5_DataBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		c := NewConn(a)
		c.WriteTimeout = 3 * time.Minute
		var reader sync.WaitGroup
		defer reader.Wait()
		body := strings.Repeat("x", 20*sendSize)
		reader.Go(func() {
			defer b.Close()
			p := make([]byte, sendSize)
			for range 20 { // a block each 2 minutes
				_, _ = io.ReadFull(b, p)
				time.Sleep(2 * time.Minute)
			}
		})
		if n, err := c.DataWriter().Write([]byte(body)); n != len(body) || err != nil {
			t.Errorf("%d octets written, %v", n, err)
		}
	})
}
