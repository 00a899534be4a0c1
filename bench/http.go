package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/doorward/doorward/e2e/harness"
)

// httpResult is what a way to an HTTP service carries: 1 KiB of JSON, asked for
// by 32 connections as fast as they can.
type httpResult struct {
	Way string  `json:"way"`
	RPS float64 `json:"requests_per_second"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

const httpConnections = 32

// proxyCommand makes this program a reverse proxy in a process of its own.
const proxyCommand = "reverse-proxy"

// reverseProxy is Go's own, with what a user would set: connections kept.
func reverseProxy(listen, upstream string) error {
	to, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 4 * httpConnections
	p := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	srv := &http.Server{Addr: listen, Handler: p, ReadHeaderTimeout: 10 * time.Second}
	return srv.ListenAndServe()
}

// httpWays measures a service directly, through nginx, through Go's
// ReverseProxy, and through doorward with and without masking.
func httpWays(ctx context.Context, _ *stage, s settings, r *results) error {
	for _, program := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is needed: scripts/setup.sh bench installs it", program)
		}
	}
	dir, err := os.MkdirTemp("", "doorward-bench-http-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	service, passing, bare := ports[0], ports[1], ports[2]
	stop, err := startNginx(ctx, dir, service, passing)
	if err != nil {
		return err
	}
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	proxy := exec.CommandContext(ctx, self, proxyCommand, bare, "http://"+service)
	if err := proxy.Start(); err != nil {
		return err
	}
	defer func() { _ = proxy.Process.Kill(); _ = proxy.Wait() }()
	g, err := harness.Start(ctx, &harness.Config{
		Wait: time.Second, Plain: true,
		Services: []harness.Service{{Name: "plain", Address: "http://" + service}, {Name: "masked", Address: "http://" + service}},
		Users:    []harness.User{{Name: "ada", Password: password, Groups: []string{"engineers"}}},
		Rules:    []any{map[string]any{"name": "reads", "targets": []string{"*"}, "when": "effect.read_only", "then": "allow", "limits": map[string]any{"bytes": "16GiB", "time": "10m"}}},
		Masking:  []any{map[string]any{"targets": []string{"masked"}, "detect": []string{"EMAIL", "CREDIT_CARD", "US_SSN", "IBAN", "SECRET"}, "operator": "redact"}},
	})
	if err != nil {
		return err
	}
	defer g.Close()
	person, err := g.SignIn(ctx, "ada")
	if err != nil {
		return err
	}
	ways := []struct{ name, url string }{
		{"direct", "http://" + service + "/orders"}, {"nginx", "http://" + passing + "/orders"}, {"Go's ReverseProxy", "http://" + bare + "/orders"},
		{"doorward", "http://" + g.Services + "/plain/orders"}, {"doorward, masked", "http://" + g.Services + "/masked/orders"},
	}
	all := map[string][]httpResult{}
	for i := range s.runs + 1 { // the first warms up
		for _, w := range ways {
			x, err := load(ctx, s.seconds, w.url, person.Token)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if i > 0 {
				all[w.name] = append(all[w.name], x)
			}
		}
	}
	for _, w := range ways {
		var rps, p50, p99 []float64
		for _, x := range all[w.name] {
			rps, p50, p99 = append(rps, x.RPS), append(p50, x.P50), append(p99, x.P99)
		}
		r.HTTP = append(r.HTTP, httpResult{w.name, median(rps), median(p50), median(p99)})
	}
	return nil
}

// startNginx starts one nginx that is the service and, at the second address, a
// proxy in front of it.
func startNginx(ctx context.Context, dir, service, passing string) (stop func(), err error) {
	var body strings.Builder
	body.WriteString(`{"orders":[`)
	for i := 0; body.Len() < 1000; i++ {
		fmt.Fprintf(&body, `{"id":%d,"item":"box","by":"ada@corp.example","total":12.5},`, 4711+i)
	}
	doc := strings.TrimSuffix(body.String(), ",") + "]}"
	if err := os.WriteFile(filepath.Join(dir, "orders"), []byte(doc), 0o644); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream up { server %[2]s; keepalive 128; keepalive_requests 1000000000; }
  server { listen %[2]s; root %[1]s; default_type application/json; open_file_cache max=10; }
  server { listen %[3]s; location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}
`, dir, service, passing)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "nginx", "-c", file, "-p", dir, "-e", filepath.Join(dir, "error.log"))
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }
	for range 100 {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", passing); err == nil {
			_ = c.Close()
			return stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("nginx does not start: %s", said.String())
}

var (
	wrkRate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkAt   = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([0-9.]+)(us|ms|s)`)
)

// load asks for a URL by many connections.
func load(ctx context.Context, seconds int, at, token string) (httpResult, error) {
	// The token is in a script, not among the arguments that all can see.
	script, err := os.CreateTemp("", "doorward-bench-*.lua")
	if err != nil {
		return httpResult{}, err
	}
	defer os.Remove(script.Name())
	_, err = fmt.Fprintf(script, "wrk.headers[\"Authorization\"] = \"Bearer %s\"\n", token)
	if err := errors.Join(err, script.Close()); err != nil {
		return httpResult{}, err
	}
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(httpConnections), "-d"+strconv.Itoa(seconds)+"s", "--latency", "-s", script.Name(), at).CombinedOutput()
	rate := wrkRate.FindSubmatch(out)
	if err != nil || rate == nil || bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return httpResult{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	var x httpResult
	if x.RPS, err = strconv.ParseFloat(string(rate[1]), 64); err != nil {
		return x, err
	}
	for _, m := range wrkAt.FindAllSubmatch(out, -1) {
		v, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return x, err
		}
		v *= map[string]float64{"us": 0.001, "ms": 1, "s": 1000}[string(m[3])]
		if string(m[1]) == "50" {
			x.P50 = v
		} else {
			x.P99 = v
		}
	}
	return x, nil
}

// freePorts gives addresses on loopback that nobody listens at now.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out, nil
}
