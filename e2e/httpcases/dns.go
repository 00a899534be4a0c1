package httpcases

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a DNS server.
type names struct {
	addr string
	udp  net.PacketConn
	tcp  net.Listener
	wg   sync.WaitGroup

	mu    sync.Mutex
	says  map[string][][]string // answers by name: of the first time, the second, …
	asked map[string]int        // by name and type
	total int                   // questions since say
}

func startNames() (*names, error) {
	n := &names{}
	n.say(nil)
	var err error
	// The port that is free for one may not be so for the other.
	for range 20 {
		if n.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		n.addr = n.tcp.Addr().String()
		if n.udp, err = net.ListenPacket("udp", n.addr); err == nil {
			break
		}
		n.tcp.Close()
	}
	if err != nil {
		return nil, err
	}
	n.wg.Go(func() {
		b := make([]byte, 4096)
		for {
			size, from, err := n.udp.ReadFrom(b)
			if err != nil {
				return
			}
			if out := n.answer(b[:size]); out != nil {
				_, _ = n.udp.WriteTo(out, from)
			}
		}
	})
	n.wg.Go(func() {
		for {
			c, err := n.tcp.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.stream(c) })
		}
	})
	return n, nil
}

func (n *names) stream(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		out := n.answer(b)
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

func (n *names) close() {
	n.udp.Close()
	n.tcp.Close()
	n.wg.Wait()
}

// say sets the answers and forgets what was asked. A list of answers is for one
// time that the name is asked for, the last for all times after it.
func (n *names) say(says map[string][][]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.says, n.asked, n.total = says, map[string]int{}, 0
}

func (n *names) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.total
}

// answer answers one message, nil if it is none.
func (n *names) answer(b []byte) []byte {
	var in dnsmessage.Message
	if in.Unpack(b) != nil || len(in.Questions) != 1 {
		return nil
	}
	q := in.Questions[0]
	out := dnsmessage.Message{Header: dnsmessage.Header{ID: in.ID, Response: true, Authoritative: true, RecursionDesired: in.RecursionDesired, RecursionAvailable: true}, Questions: in.Questions}
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.total++
	known := false
	for owner := q.Name; ; {
		sets, ok := n.says[name]
		if !ok || len(sets) == 0 {
			break
		}
		known = true
		key := name + " " + q.Type.String()
		list := sets[min(n.asked[key], len(sets)-1)]
		n.asked[key]++
		alias := slices.IndexFunc(list, func(s string) bool { _, err := netip.ParseAddr(s); return err != nil })
		if alias < 0 {
			for _, text := range list {
				out.Answers = appendAddress(out.Answers, owner, q.Type, netip.MustParseAddr(text))
			}
			break
		}
		next, err := dnsmessage.NewName(strings.TrimSuffix(list[alias], ".") + ".")
		if err != nil || len(out.Answers) > 8 {
			break
		}
		out.Answers = append(out.Answers, dnsmessage.Resource{Header: header(owner, dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: next}})
		owner, name = next, strings.ToLower(strings.TrimSuffix(next.String(), "."))
	}
	if !known {
		out.RCode = dnsmessage.RCodeNameError
	}
	packed, err := out.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func header(owner dnsmessage.Name, t dnsmessage.Type) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: owner, Type: t, Class: dnsmessage.ClassINET, TTL: 0}
}

func appendAddress(out []dnsmessage.Resource, owner dnsmessage.Name, t dnsmessage.Type, a netip.Addr) []dnsmessage.Resource {
	switch {
	case t == dnsmessage.TypeA && a.Is4():
		return append(out, dnsmessage.Resource{Header: header(owner, t), Body: &dnsmessage.AResource{A: a.As4()}})
	case t == dnsmessage.TypeAAAA && a.Is6():
		return append(out, dnsmessage.Resource{Header: header(owner, t), Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
	}
	return out
}
