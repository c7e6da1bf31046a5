// Storm loads an SMTP server with what it must bear, and tells what that cost it
// in memory: connections that say nothing, messages that are half sent, and
// hostile clients while good mail keeps flowing.
//
//	storm -addr 127.0.0.1:2525 -pid 4711 idle -n 10000
//	storm -addr 127.0.0.1:2525 -pid 4711 half -n 200 -size 50
//	storm -addr 127.0.0.1:2525 -pid 4711 mixed -for 10m
//
// contrib/bench/storm/run starts a Postern and does all of it.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	addr  = flag.String("addr", "127.0.0.1:2525", "host:port of the server")
	pids  = flag.String("pid", "", "process IDs of the server and of what it needs, for their memory, separated by commas")
	to    = flag.String("to", "u%d@example.com", "a recipient; %d becomes 0 to 9")
	spool = flag.String("spool", "", "the folder of the server's unlinked files, for their size")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	commands := map[string]func(context.Context, []string) error{"idle": idle, "half": half, "mixed": mixed}
	run := commands[flag.Arg(0)]
	if run == nil {
		fmt.Fprintln(os.Stderr, "storm [flags] idle|half|mixed [flags]; -h tells more")
		os.Exit(2)
	}
	if err := run(ctx, flag.Args()[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

// memory returns the resident memory of each process, in octets.
func memory() (rss []int64) {
	for pid := range strings.SplitSeq(*pids, ",") {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			continue
		}
		_, text, _ := strings.Cut(string(status), "VmRSS:")
		kib, _ := strconv.ParseInt(strings.Fields(text + " 0")[0], 10, 64)
		rss = append(rss, kib<<10)
	}
	return append(rss, 0)
}

// mib writes sizes for people.
func mib(sizes []int64) string {
	var s []string
	for _, n := range sizes[:len(sizes)-1] {
		s = append(s, fmt.Sprintf("%.1f", float64(n)/(1<<20)))
	}
	return strings.Join(s, "+") + " MiB"
}

// descriptors returns how many the first process has open, and the size of those
// that are files in the spool.
func descriptors() (n int, spooled int64) {
	pid, _, _ := strings.Cut(*pids, ",")
	links, _ := filepath.Glob("/proc/" + pid + "/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue
		}
		n++
		if fi, err := os.Stat(link); err == nil && *spool != "" && strings.HasPrefix(target, *spool) {
			spooled += fi.Size()
		}
	}
	return n, spooled
}

// A conn is a client's connection.
type conn struct {
	net.Conn
	r *bufio.Reader
}

// dial connects from a loopback address. Each /24 is a network of its own.
func dial(from string) (*conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 30 * time.Second}
	nc, err := d.Dial("tcp", *addr)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(10 * time.Minute))
	return &conn{nc, bufio.NewReaderSize(nc, 512)}, nil
}

// reply reads a reply, and returns its code; 0 is the end of the connection.
func (c *conn) reply() int {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || len(line) < 4 {
			return 0
		}
		if line[3] == ' ' {
			code, _ := strconv.Atoi(line[:3])
			return code
		}
	}
}

// ask says a line and returns the code of the reply.
func (c *conn) ask(line string) int {
	if _, err := c.Write([]byte(line + "\r\n")); err != nil {
		return 0
	}
	return c.reply()
}

// open connects and says EHLO, and is under TLS then if that is wanted.
func open(from string, secure bool) (*conn, error) {
	c, err := dial(from)
	if err != nil {
		return nil, err
	}
	if code := c.reply(); code != 220 {
		c.Close()
		return nil, fmt.Errorf("greeting: %d", code)
	}
	if code := c.ask("EHLO storm.example.net"); code != 250 {
		c.Close()
		return nil, fmt.Errorf("EHLO: %d", code)
	}
	if !secure {
		return c, nil
	}
	if code := c.ask("STARTTLS"); code != 220 {
		c.Close()
		return nil, fmt.Errorf("STARTTLS: %d", code)
	}
	session := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := session.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	c = &conn{session, bufio.NewReaderSize(session, 512)}
	if code := c.ask("EHLO storm.example.net"); code != 250 {
		c.Close()
		return nil, fmt.Errorf("EHLO under TLS: %d", code)
	}
	return c, nil
}
