package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	classify "github.com/doorward/doorward/internal/classify/http"
)

const ordersDocument = `openapi: VERSION
info: { title: orders, version: "1" }
servers: [{ url: https://orders.internal/v1 }]
components:
  parameters:
    Tenant: { name: tenant, in: query, schema: { type: string } }
paths:
  /orders/{id}:
    parameters:
      - { name: id, in: path, required: true, schema: { type: integer } }
      - { $ref: '#/components/parameters/Tenant' }
      - { name: X-Trace, in: header, schema: { type: string } }
    get:
      operationId: getOrder
      parameters:
        - { name: expand, in: query, schema: { type: array, items: { type: string } } }
      responses: { "200": { description: it } }
`

func document(t *testing.T, text string) *HTTPTarget {
	t.Helper()
	file := filepath.Join(t.TempDir(), "openapi.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &HTTPTarget{OpenAPI: file}
}

// TestOpenAPI reads documents of both versions, and has a request be one of
// their operations.
func TestOpenAPI(t *testing.T) {
	for _, version := range []string{"3.0.3", "3.1.0"} {
		ops, err := document(t, strings.Replace(ordersDocument, "VERSION", version, 1)).Operations()
		if err != nil {
			t.Fatal(version, err)
		}
		env := &classify.Env{Operations: ops}
		r, err := classify.FromHTTP(classify.Incoming{Method: "GET", Target: "/v1/orders/17?expand=items&tenant=acme"}, env)
		if err != nil {
			t.Fatal(err)
		}
		text, err := r.Text()
		if err != nil {
			t.Fatal(err)
		}
		reading, err := classify.Read(text, env)
		if err != nil {
			t.Fatal(err)
		}
		if e := reading.Effect; !e.Complete || e.HTTP.Operation != "getOrder" || e.HTTP.Args["id"] != int64(17) || e.HTTP.Args["tenant"] != "acme" {
			t.Errorf("%s: %+v %q", version, e.HTTP, e.Hint)
		}
	}
}

// TestOpenAPIRefuses has documents that cannot be used, each with its reason.
func TestOpenAPIRefuses(t *testing.T) {
	good := strings.Replace(ordersDocument, "VERSION", "3.0.3", 1)
	for want, text := range map[string]string{
		"no operationId":        strings.Replace(good, "operationId: getOrder", "summary: x", 1),
		"is not an OpenAPI":     "a: [",
		"external":              strings.Replace(good, "'#/components/parameters/Tenant'", "'other.yaml#/x'", 1),
		"different paths":       strings.Replace(good, "url: https://orders.internal/v1 }", "url: https://a/v1 }, { url: https://a/v2 }", 1),
		"path and in the query": strings.Replace(good, "name: expand", "name: id", 1),
		"is an object":          strings.Replace(good, "schema: { type: array, items: { type: string } }", "schema: { type: object }", 1),
	} {
		if _, err := document(t, text).Operations(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := (&HTTPTarget{OpenAPI: "/nowhere/openapi.yaml"}).Operations(); err == nil {
		t.Error("a file that is not there was read")
	}
}
