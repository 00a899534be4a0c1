package kubernetes

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/kubernetes"
	"github.com/doorward/doorward/internal/lane"
	"github.com/doorward/doorward/internal/relay"
	"github.com/doorward/doorward/internal/wire/frame"
)

// The protocols of exec and attach that are spoken with clients. Older ones
// cannot tell an exit status; kubectl has had the fourth since 1.4.
const (
	protocolV5 = "v5.channel.k8s.io" // WebSocket: standard input can be closed
	protocolV4 = "v4.channel.k8s.io"
)

const (
	streamsWait   = 30 * time.Second // for a client to open its streams
	statusRefused = 126              // exit status of what was stopped, as a shell's for what cannot run
	maxSizes      = 16 << 20         // bytes of messages about a window's size
	beat          = 15 * time.Second // between looks whether the client is still there
)

// The channels of a stream (k8s.io/apimachinery, remotecommand).
const (
	channelIn = iota
	channelOut
	channelErr
	channelStatus
	channelSize
)

// streams are a client's ends of exec or attach. Those that it did not ask for
// are nil.
type streams struct {
	in        io.Reader
	out, errs io.WriteCloser
	status    io.WriteCloser
	size      io.Reader
	left      <-chan struct{} // closed once the client has left
	first     io.Writer       // an empty message on it tells whether the client is there
	closeConn func()
}

// stream serves exec, attach and portforward: judged as they were asked for,
// before anything is upgraded.
func (q *query) stream() error {
	text, err := q.req.Text()
	if err != nil {
		return q.refuse(q.line(), http.StatusBadRequest, err.Error(), "")
	}
	if !httpstream.IsUpgradeRequest(q.r) {
		return q.refuse(text, http.StatusBadRequest, "this is done by an upgraded connection only", "Use kubectl, or a client library's exec, attach or port-forward.")
	}
	if q.req.Stream == "portforward" {
		return q.forward(text)
	}
	want := wanted(q.req)
	if !want.in && !want.out && !want.errs {
		return q.refuse(text, http.StatusBadRequest, "one of stdin, stdout and stderr has to be asked for", "")
	}
	if err := q.offered(text); err != nil {
		return err
	}
	p, err := q.ask(text)
	if err != nil {
		return err
	}
	s := q.lane.Session
	c, done, err := q.cluster()
	if err != nil {
		return errors.Join(err, p.Reply().Done("not run"))
	}
	defer done()
	// From here on what goes wrong is told on the stream itself.
	conn, err := q.upgrade(want)
	if err != nil {
		return errors.Join(q.upgraded(err), p.Reply().Done("not run"))
	}
	defer conn.closeConn()
	x := &terminal{streams: conn, want: want}
	q.lane.Sink.Use(x)
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	var gone atomic.Bool
	go func() {
		// What a client sends may wait to be read, and so hide that it has left:
		// it is written to now and then.
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := conn.first.Write(nil); err == nil {
					continue
				}
			case <-conn.left:
			case <-ctx.Done():
				return
			}
			gone.Store(true)
			cancel()
			return
		}
	}()
	proc, err := c.Start(ctx, s, p, q.req.Stream)
	if err != nil {
		q.deny(x, lane.Denial(q.unreached(err)))
		return p.Reply().Done("not run")
	}
	client := relay.Client{Session: s, Input: conn.in, Events: x.events(q.guard), Gone: gone.Load, Guard: q.guard, Filter: q.archive()}
	if want.tty {
		client.Terminal = &relay.Event{}
	}
	err = relay.Run(client, p, proc, cancel)
	if ended := s.Err(); ended != nil {
		err = &doorward.Denial{Decision: "deny", Reason: ended.Error()}
	}
	var d *doorward.Denial
	if errors.As(err, &d) {
		q.deny(x, d)
		err = nil
	}
	if err = q.upgraded(err); err != nil && !errors.Is(err, relay.ErrClientLeft) {
		q.srv.opt.Log.Debug("a stream ended", "session", s.ID(), "error", err)
	}
	return nil
}

// want says which streams a client asked for.
type want struct{ in, out, errs, tty bool }

func wanted(r *classify.Request) want {
	w := want{in: r.On("stdin"), out: r.On("stdout"), errs: r.On("stderr"), tty: r.On("tty")}
	if w.tty {
		w.errs = false // a terminal has one screen
	}
	return w
}

// offered refuses a client that speaks none of the protocols.
func (q *query) offered(text string) error {
	var offered []string
	name := httpstream.HeaderProtocolVersion
	known := []string{protocolV4}
	if wsstream.IsWebSocketRequest(q.r) {
		name, known = "Sec-Websocket-Protocol", []string{protocolV5, protocolV4}
		key, err := base64.StdEncoding.DecodeString(q.r.Header.Get("Sec-Websocket-Key"))
		if err != nil || len(key) != 16 || q.r.Header.Get("Sec-Websocket-Version") != "13" || q.r.Method != http.MethodGet {
			return q.refuse(text, http.StatusBadRequest, "this is no upgrade to WebSocket (RFC 6455)", "")
		}
	}
	for _, v := range q.r.Header[http.CanonicalHeaderKey(name)] {
		for p := range strings.SplitSeq(v, ",") {
			offered = append(offered, strings.TrimSpace(p))
		}
	}
	for _, p := range known {
		if slices.Contains(offered, p) {
			q.r.Header.Set(name, p)
			return nil
		}
	}
	return q.refuse(text, http.StatusForbidden, "the client speaks no protocol for this that doorward does", "Use kubectl 1.5 or newer.")
}

// upgrade takes the client's connection over.
func (q *query) upgrade(w want) (*streams, error) {
	if wsstream.IsWebSocketRequest(q.r) {
		return q.upgradeWebSocket(w)
	}
	return q.upgradeSPDY(w)
}

func (q *query) upgradeWebSocket(w want) (*streams, error) {
	channel := func(on bool, kind wsstream.ChannelType) wsstream.ChannelType {
		if on {
			return kind
		}
		return wsstream.IgnoreChannel
	}
	channels := []wsstream.ChannelType{
		channelIn: channel(w.in, wsstream.ReadChannel), channelOut: channel(w.out, wsstream.WriteChannel), channelErr: channel(w.errs, wsstream.WriteChannel),
		channelStatus: wsstream.WriteChannel, channelSize: wsstream.ReadChannel,
	}
	conf := wsstream.ChannelProtocolConfig{Binary: true, Channels: channels}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{protocolV5: conf, protocolV4: conf})
	_, ends, err := conn.Open(q.w, q.r)
	if err != nil {
		return nil, fmt.Errorf("the client's connection cannot be upgraded: %w", err)
	}
	left := make(chan struct{})
	size, tell := io.Pipe()
	go func() {
		// The channel of sizes ends when the connection does.
		_, err := io.Copy(tell, ends[channelSize])
		_ = tell.CloseWithError(err)
		close(left)
	}()
	out := &streams{status: ends[channelStatus], size: size, left: left, closeConn: func() { _ = conn.Close(); _ = size.Close() }}
	if w.in {
		out.in = ends[channelIn]
	}
	if w.out {
		out.out = ends[channelOut]
	}
	if w.errs {
		out.errs = ends[channelErr]
	}
	// The client waits for a first message to know that it is connected.
	first := channelStatus
	if w.errs {
		first = channelErr
	}
	if w.out {
		first = channelOut
	}
	out.first = ends[first]
	if _, err := out.first.Write(nil); err != nil {
		out.closeConn()
		return nil, err
	}
	return out, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// upgradeSPDY serves older clients. The streams come one by one, each with its
// type in a header.
func (q *query) upgradeSPDY(w want) (*streams, error) {
	if _, err := httpstream.Handshake(q.r, q.w, []string{protocolV4}); err != nil {
		return nil, err
	}
	type came struct {
		httpstream.Stream
		replied <-chan struct{}
	}
	arrive := make(chan came)
	over := make(chan struct{})
	conn := spdy.NewResponseUpgrader().UpgradeResponse(q.w, q.r, func(st httpstream.Stream, replied <-chan struct{}) error {
		select {
		case arrive <- came{st, replied}:
			return nil
		case <-over:
			return errors.New("no stream is expected any more")
		}
	})
	if conn == nil {
		close(over)
		return nil, errors.New("the client's connection cannot be upgraded")
	}
	left := make(chan struct{})
	go func() { <-conn.CloseChan(); close(left) }()
	out := &streams{left: left, closeConn: func() { _ = conn.Close() }}
	need := 1 + btoi(w.in) + btoi(w.out) + btoi(w.errs) + btoi(w.tty)
	wait := time.NewTimer(streamsWait)
	defer wait.Stop()
	defer close(over)
	fail := func(why string) (*streams, error) {
		out.closeConn()
		return nil, errors.New(why)
	}
	for range need {
		var st came
		select {
		case st = <-arrive:
		case <-wait.C:
			return fail("the client did not open its streams in time")
		case <-left:
			return fail("the client left before it had opened its streams")
		}
		select {
		case <-st.replied:
		case <-wait.C:
			return fail("the client's streams could not be answered in time")
		case <-left:
			return fail("the client left before it had opened its streams")
		}
		kind := st.Headers().Get("streamType")
		switch {
		case kind == "error" && out.status == nil:
			out.status = st
		case kind == "stdin" && w.in && out.in == nil:
			out.in = st
		case kind == "stdout" && w.out && out.out == nil:
			out.out = st
		case kind == "stderr" && w.errs && out.errs == nil:
			out.errs = st
		case kind == "resize" && w.tty && out.size == nil:
			out.size = st
		default:
			return fail("the client opened a stream that it did not ask for: " + strconv.Quote(printable(kind)))
		}
	}
	out.first = out.status
	for _, end := range []io.Writer{out.errs, out.out} {
		if end != nil {
			out.first = end
		}
	}
	return out, nil
}

// terminal is the receiver of a stream's frames.
type terminal struct {
	*streams
	want want
	mu   sync.Mutex
	done bool
}

// Receive implements lane.Receiver.
func (x *terminal) Receive(kind byte, body []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer time.AfterFunc(writeWait, x.closeConn).Stop()
	var to io.Writer
	switch kind {
	case frame.Output:
		to = x.out
	case frame.Errors, frame.Message:
		if to = x.errs; x.errs == nil {
			to = x.out
		}
	case frame.Exit:
		return x.exit(binary.BigEndian.Uint32(body))
	}
	if to == nil {
		return nil
	}
	_, err := to.Write(body)
	return err
}

// exit tells the client how it ended, as the API server does.
func (x *terminal) exit(code uint32) error {
	if x.done {
		return nil
	}
	x.done = true
	st := status{Status: "Success"}
	if code != 0 {
		text := strconv.FormatUint(uint64(code), 10)
		st = status{Status: "Failure", Reason: "NonZeroExitCode", Message: "command terminated with non-zero exit code " + text, Details: &details{Causes: []cause{{"ExitCode", text}}}}
	}
	return x.say(st)
}

func (x *terminal) say(st status) error {
	st.Kind, st.APIVersion = "Status", "v1"
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	for _, end := range []io.WriteCloser{x.out, x.errs} {
		if end != nil && !x.isWeb() {
			_ = end.Close()
		}
	}
	_, err = x.status.Write(b)
	return err
}

// isWeb reports whether the streams are channels of one WebSocket, which end
// with it.
func (x *terminal) isWeb() bool {
	_, isStream := x.status.(httpstream.Stream)
	return !isStream
}

// deny tells the client why it was stopped, or did not begin.
func (q *query) deny(x *terminal, d *doorward.Denial) {
	end := "\n"
	if x.want.tty {
		end = "\r\n"
	}
	text := "doorward: " + d.Error() + end
	if d.Hint != "" {
		text += "doorward: hint: " + d.Hint + end
	}
	defer time.AfterFunc(killWait, x.closeConn).Stop()
	_ = q.lane.Tell(frame.AppendExit(frame.Append(nil, frame.Message, []byte(text)), statusRefused))
}

const killWait = 2 * time.Second // for a client that is told why it was stopped

// events gives the sizes of the client's window.
func (x *terminal) events(guard func(func())) <-chan relay.Event {
	if x.size == nil {
		return nil
	}
	out := make(chan relay.Event, 1)
	go guard(func() {
		// Whatever comes is taken, or nothing else of the client would be.
		defer func() { _, _ = io.Copy(io.Discard, x.size) }()
		if !x.want.tty {
			return
		}
		d := json.NewDecoder(io.LimitReader(x.size, maxSizes))
		for {
			var s struct{ Width, Height uint16 }
			if d.Decode(&s) != nil {
				return
			}
			e := relay.Event{Columns: uint32(s.Width), Rows: uint32(s.Height)}
			for sent := false; !sent; {
				select {
				case out <- e:
					sent = true
				default:
					select {
					case <-out: // the newest counts
					default:
					}
				}
			}
		}
	})
	return out
}
