package lane

import (
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/doorward/doorward/internal/gate"
)

const (
	maxLanes = 256 // sessions of one connection
	maxIdle  = 16  // of these, without a request, for one target and token
)

// ErrTooMany says that one connection has as many requests open as it may.
var ErrTooMany = errors.New("too many requests at once on one connection")

// Pool are the sessions of one client's connection. It is safe for concurrent
// use.
type Pool struct {
	mu    sync.Mutex
	free  map[key][]*Lane
	count int
	over  bool // the connection has ended
}

// key is for whom a session was opened: another token is another session.
type key struct {
	target string
	token  [sha256.Size]byte
}

// Lane is a session of the gate that serves one request at a time.
type Lane struct {
	*gate.Session
	Sink *Sink // where the session's answers go
	key  key
}

// Opener opens a session whose answers go to the writer.
type Opener func(io.Writer) (*gate.Session, error)

// Open opens a lane that belongs to no pool. The caller closes its session.
func Open(open Opener) (*Lane, error) {
	l := &Lane{Sink: &Sink{}}
	s, err := open(l.Sink)
	if err != nil {
		return nil, err
	}
	l.Session = s
	return l, nil
}

// New makes the pool of a connection.
func New() *Pool { return &Pool{free: map[key][]*Lane{}} }

// Take gives a session for a request: a free one, or one that open opens.
func (p *Pool) Take(target, token string, open Opener) (*Lane, error) {
	k := key{target, sha256.Sum256([]byte(token))}
	for {
		p.mu.Lock()
		l := p.pop(k)
		if l == nil && (p.over || p.count < maxLanes) {
			break
		}
		if l == nil { // another's free session makes room
			l = p.popAny()
		}
		p.mu.Unlock()
		if l == nil {
			return nil, ErrTooMany
		}
		if l.key == k && l.Err() == nil {
			return l, nil
		}
		p.drop(l)
	}
	if p.over {
		p.mu.Unlock()
		return nil, ErrTooMany
	}
	p.count++
	p.mu.Unlock()
	l, err := Open(open)
	if err != nil {
		p.mu.Lock()
		p.count--
		p.mu.Unlock()
		return nil, err
	}
	l.key = k
	l.OnKill(func() { p.ended(l) })
	return l, nil
}

// pop takes a free session of a key, or gives nil.
func (p *Pool) pop(k key) *Lane {
	free := p.free[k]
	if len(free) == 0 {
		return nil
	}
	l := free[len(free)-1]
	if p.free[k] = free[:len(free)-1]; len(free) == 1 {
		delete(p.free, k)
	}
	return l
}

// popAny takes a free session of any key, or gives nil.
func (p *Pool) popAny() *Lane {
	for k := range p.free {
		return p.pop(k)
	}
	return nil
}

// ended closes a session that was ended while it was free. One that serves a
// request is closed when that is over.
func (p *Pool) ended(l *Lane) {
	p.mu.Lock()
	free := p.free[l.key]
	i := slices.Index(free, l)
	if i >= 0 {
		p.free[l.key] = slices.Delete(free, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		p.drop(l)
	}
}

// Put gives a session back.
func (p *Pool) Put(l *Lane) {
	p.mu.Lock()
	if !p.over && l.Err() == nil && len(p.free[l.key]) < maxIdle {
		p.free[l.key] = append(p.free[l.key], l)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.drop(l)
}

func (p *Pool) drop(l *Lane) {
	l.Close(l.Err())
	p.mu.Lock()
	p.count--
	p.mu.Unlock()
}

// Close ends the sessions that have no request. It waits for the disk. Those
// that have one end when they are put back.
func (p *Pool) Close() {
	p.mu.Lock()
	p.over = true
	all := p.free
	p.free = nil
	p.mu.Unlock()
	for _, free := range all {
		for _, l := range free {
			p.drop(l)
		}
	}
}
