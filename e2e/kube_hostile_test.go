package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/kubetest"
)

// heldRules let everything be read and run, and hold every write.
var heldRules = []any{
	map[string]any{"name": "reads", "targets": []string{"*"}, "when": "effect.read_only", "then": "allow"},
	map[string]any{"name": "runs", "targets": []string{"*"}, "when": "effect.kinds.exists(k, k.endsWith('pods/exec'))", "then": "allow"},
	map[string]any{"name": "held", "targets": []string{"*"}, "when": "!effect.read_only && !effect.kinds.exists(k, k.endsWith('pods/exec'))", "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}}},
}

// send sends one request through doorward.
func (h *clusters) send(method, target, kind, body string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.via.Server+target, bytes.NewReader([]byte(body)))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.via.Token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", kind)
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: h.gate.TLS(), ForceAttemptHTTP2: true}}
	defer c.CloseIdleConnections()
	res, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// newest gives the statement and the preview of the newest review.
func (h *clusters) newest() (statement, preview string) {
	h.t.Helper()
	all, err := h.dora.Reviews(h.t.Context(), "all")
	if err != nil {
		h.t.Fatal(err)
	}
	id := int64(0)
	for _, r := range all {
		id = max(id, r.ID)
	}
	var review struct{ Statement, Preview string }
	if err := h.dora.Do(h.t.Context(), http.MethodGet, fmt.Sprintf("/api/v1/reviews/%d", id), nil, &review); err != nil {
		h.t.Fatal(err)
	}
	return review.Statement, review.Preview
}

// TestKubernetesLeaving has clients leave while what they sent waits to be read:
// their sessions end.
func TestKubernetesLeaving(t *testing.T) {
	h := openCluster(t, nil)
	h.admin(pod("talks", "sleep 10000"), "apply", "-f", "-")
	h.running("talks")
	live := func() int {
		l, err := h.ada.Sessions(t.Context(), "live=true")
		if err != nil {
			t.Fatal(err)
		}
		return len(l)
	}
	for name, after := range map[string]func(c *websocket.Conn){
		"at once": func(*websocket.Conn) {},
		"with sizes that are none": func(c *websocket.Conn) {
			_ = c.WriteMessage(websocket.BinaryMessage, []byte("\x04garbage"))
			_ = c.WriteMessage(websocket.BinaryMessage, []byte("\x04garbage"))
		},
		"with input that nobody reads": func(c *websocket.Conn) {
			_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
			for range 200 {
				if c.WriteMessage(websocket.BinaryMessage, make([]byte, 64<<10)) != nil {
					return
				}
			}
		},
	} {
		conf := h.gate.TLS()
		conf.NextProtos = []string{"http/1.1"}
		d := websocket.Dialer{TLSClientConfig: conf, Subprotocols: []string{"v5.channel.k8s.io"}, HandshakeTimeout: 20 * time.Second}
		q := url.Values{"command": {"sleep", "600"}, "stdout": {"true"}, "stdin": {"true"}}
		before := live()
		c, _, err := d.Dial("wss://"+h.gate.Kubernetes+"/"+ordersCluster+"/api/v1/namespaces/dev/pods/talks/exec?"+q.Encode(), http.Header{"Authorization": {"Bearer " + h.via.Token}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, _, _ = c.ReadMessage()
		after(c)
		_ = c.UnderlyingConn().Close()
		until(t, "the session of who left "+name+" has ended", func() bool { return live() <= before })
	}
}

// TestKubernetesLeavingAnswers has more clients leave in the middle of an answer
// than the target may have requests at once: others are still served, and
// nothing of them stays.
func TestKubernetesLeavingAnswers(t *testing.T) {
	const most = 8
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) {
		c.Masking = clusterMasks
		c.Clusters[0].Fields = map[string]any{"max_requests": most}
	})
	h.admin(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"big"},"data":{"a":"`+strings.Repeat("0123456789abcdef", 50000)+`"}}`, "create", "-f", "-")
	for n := range 10 {
		h.admin(fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"big%d"},"data":{"a":"%s"}}`, n, strings.Repeat("0123456789abcdef", 50000)), "create", "-f", "-")
	}
	for range most + 4 {
		conf := h.gate.TLS()
		conf.NextProtos = []string{"http/1.1"}
		c, err := tls.Dial("tcp", h.gate.Kubernetes, conf)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /%s/api/v1/namespaces/dev/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAccept: application/json\r\n\r\n", ordersCluster, h.via.Token)
		if _, err := io.ReadFull(c, make([]byte, 1024)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	until(t, "nothing of them stays", func() bool {
		l, err := h.ada.Sessions(t.Context(), "live=true")
		return err == nil && len(l) == 0
	})
	h.good("1.37", "", "get", "configmaps", "-o", "name")
}

// TestKubernetesNoOracle wants a denied write to make doorward look at nothing,
// and to tell nothing of the object.
func TestKubernetesNoOracle(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) {
		c.Masking = clusterMasks
		c.Rules = []any{map[string]any{"name": "discovery", "targets": []string{"*"}, "when": "effect.kinds == ['discovery']", "then": "allow"},
			map[string]any{"name": "blind", "targets": []string{"*"}, "when": "effect.kinds == ['patch services']", "then": "allow"}}
	})
	h.admin(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"hidden"},"data":{"a":"send the money to lovelace@corp.example at noon"}}`, "create", "-f", "-")
	h.admin(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"hidden","annotations":{"a":"send the money to lovelace@corp.example at noon"}},"spec":{"ports":[{"port":80}]}}`, "create", "-f", "-")
	at, err := h.kube.AuditSize()
	if err != nil {
		t.Fatal(err)
	}
	for _, guess := range []string{"noon", "night"} {
		if code, text := h.send(http.MethodPatch, "/api/v1/namespaces/dev/configmaps/hidden", "application/merge-patch+json", `{"data":{"z":"send the money to [EMAIL] at `+guess+`"}}`); code != http.StatusForbidden {
			t.Errorf("%s: %d %s", guess, code, text)
		}
		if code, text := h.send(http.MethodPatch, "/api/v1/namespaces/dev/services/hidden", "application/merge-patch+json", `{"metadata":{"annotations":{"z":"send the money to [EMAIL] at `+guess+`"}}}`); code != http.StatusOK {
			t.Errorf("%s: %d %s", guess, code, text)
		}
	}
	events, err := h.kube.Audit(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Agent == "doorward" && (e.Object.Resource == "configmaps" || e.Verb == "get" && e.Object.Resource == "services") {
			t.Errorf("doorward looked: %s %s", e.Verb, e.URI)
		}
	}
}

// TestKubernetesOneApproval has many ask for the same at once, and another make
// the object that was to be made.
func TestKubernetesOneApproval(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) { c.Rules = heldRules })
	var done atomic.Int32
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			if code, _ := h.send(http.MethodPost, "/api/v1/namespaces/dev/limitranges", "application/json", `{"apiVersion":"v1","kind":"LimitRange","metadata":{"generateName":"x-"},"spec":{"limits":[]}}`); code == http.StatusCreated {
				done.Add(1)
			}
		})
	}
	h.answerTo(true)
	all.Wait()
	if n := len(strings.Fields(h.admin("", "get", "limitranges", "-o", "name"))); n != 1 || done.Load() != 1 {
		t.Errorf("one approval made %d, and told %d of it", n, done.Load())
	}
	answer := make(chan string, 1)
	go func() {
		code, text := h.send(http.MethodPatch, "/api/v1/namespaces/dev/limitranges/theirs?fieldManager=x&force=true", "application/apply-patch+yaml", `{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"theirs"},"spec":{"limits":[{"type":"Container","max":{"cpu":"1"}}]}}`)
		answer <- fmt.Sprint(code, text)
	}()
	until(t, "it is held", func() bool {
		waiting, err := h.dora.Reviews(t.Context(), "waiting")
		return err == nil && len(waiting) == 1
	})
	h.admin(`{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"theirs"},"spec":{"limits":[{"type":"Container","max":{"cpu":"7"}}]}}`, "create", "-f", "-")
	h.answerTo(true)
	if got := <-answer; strings.HasPrefix(got, "2") {
		t.Errorf("what was to be made changed another's: %s", got)
	}
	contains(t, h.admin("", "get", "limitrange", "theirs", "-o", "jsonpath={.spec.limits[0].max.cpu}"), "7")
}

// TestKubernetesRehearsals wants a rehearsal to have no effect, whoever serves
// the request, and to show what there is to decide on.
func TestKubernetesRehearsals(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) {
		c.Wait, c.Rules = time.Second, heldRules
		c.Clusters[0].Fields = map[string]any{"groups": []string{"vm.example"}}
	})
	ran := aggregated(h)
	for _, x := range [][3]string{
		{http.MethodPost, "/apis/vm.example/v1/namespaces/dev/machines", `{"apiVersion":"vm.example/v1","kind":"Machine","metadata":{"name":"db"},"spec":{"running":true}}`},
		{http.MethodPut, "/apis/vm.example/v1/namespaces/dev/machines/db", `{"apiVersion":"vm.example/v1","kind":"Machine","metadata":{"name":"db"},"spec":{"running":false}}`},
	} {
		code, text := h.send(x[0], x[1], "application/json", x[2])
		if _, preview := h.newest(); code != http.StatusForbidden || !strings.Contains(preview, "no preview") {
			t.Errorf("%s %s: %d %s\npreview: %s", x[0], x[1], code, text, preview)
		}
		for len(ran) > 0 {
			if got := <-ran; !strings.HasPrefix(got, "GET ") {
				t.Errorf("before anybody said yes: %s", got)
			}
		}
	}
	at, err := h.kube.AuditSize()
	if err != nil {
		t.Fatal(err)
	}
	h.send(http.MethodPost, "/api/v1/namespaces/dev/serviceaccounts/default/token", "application/json", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`)
	events, err := h.kube.Audit(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Object.Subresource == "token" && e.Agent == "doorward" {
			t.Errorf("a token was made for a rehearsal: %+v", e)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "eve", Organization: []string{"admins"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
	h.admin(`{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"eve"},"spec":{"request":"`+text+`","signerName":"kubernetes.io/kube-apiserver-client","usages":["client auth"]}}`, "apply", "-f", "-")
	h.send(http.MethodPatch, "/apis/certificates.k8s.io/v1/certificatesigningrequests/eve/approval", "application/merge-patch+json", `{"status":{"conditions":[{"type":"Approved","status":"True","reason":"x","message":"y"}]}}`)
	_, preview := h.newest()
	contains(t, preview, "+", "type: Approved")
	h.send(http.MethodPost, "/api/v1/namespaces/dev/pods", "application/json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"z","annotations":{"a":"`+strings.Repeat("a: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\\n", 5000)+`"}},"spec":{"containers":[{"name":"main","image":"none","securityContext":{"privileged":true}}]}}`)
	_, preview = h.newest()
	contains(t, preview, "privileged: true", "more bytes")
}

// aggregated puts an API beside the cluster's own that does not look at dryRun,
// and gives what it is asked.
func aggregated(h *clusters) chan string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	ran := make(chan string, 100)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/apis/vm.example/v1":
			io.WriteString(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"vm.example/v1","resources":[{"name":"machines","namespaced":true,"kind":"Machine","verbs":["get","create","update","patch","delete"]}]}`)
		case strings.Contains(r.URL.Path, "/machines"):
			ran <- r.Method + " " + r.URL.String()
			io.WriteString(w, `{"kind":"Machine","apiVersion":"vm.example/v1","metadata":{"name":"db","namespace":"dev","uid":"u1","resourceVersion":"7"},"spec":{"running":false}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	port := l.Addr().(*net.TCPAddr).Port
	h.admin(fmt.Sprintf(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"agg"},"spec":{"type":"ExternalName","externalName":"localhost","ports":[{"port":%d}]}}`, port), "apply", "-f", "-")
	h.admin(fmt.Sprintf(`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.vm.example"},"spec":{"group":"vm.example","version":"v1","groupPriorityMinimum":100,"versionPriority":10,"insecureSkipTLSVerify":true,"service":{"namespace":"dev","name":"agg","port":%d}}}`, port), "apply", "-f", "-")
	until(h.t, "the API is there", func() bool {
		return strings.Contains(h.admin("", "get", "apiservice", "v1.vm.example", "-o", "json"), `"status": "True"`)
	})
	return ran
}

// TestKubernetesRefusedBodies wants what is refused not to fill the disk.
func TestKubernetesRefusedBodies(t *testing.T) {
	h := openCluster(t, func(c *harness.Config, _ *kubetest.Cluster) { c.Rules = heldRules[:1] })
	size := func() (n int64) {
		filepath.Walk(h.gate.State, func(_ string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				n += info.Size()
			}
			return nil
		})
		return n
	}
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"` + strings.Repeat("0123456789abcdef", 180000) + `"}}`
	h.send(http.MethodPost, "/api/v1/namespaces/dev/configmaps", "application/json", body) // what is allocated ahead is there by then
	before := size()
	for range 10 {
		if code, text := h.send(http.MethodPost, "/api/v1/namespaces/dev/configmaps", "application/json", body); code != http.StatusForbidden {
			t.Errorf("%d %s", code, text)
		}
	}
	if grown := size() - before; grown > 6<<20 {
		t.Errorf("ten refused bodies of %d bytes took %d bytes of disk", len(body), grown)
	}
}
