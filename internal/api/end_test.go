package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/api/apitest"
)

func TestWithdraw(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	_, ada := h.Person(t, "ada")
	_, ben := h.Person(t, "ben")
	_, dora := h.Person(t, "dora")
	_, sam := h.Person(t, "sam")
	r := h.Review(t, agent, "delete from orders where id = 1")
	path := fmt.Sprintf("/api/v1/reviews/%d", r.ID)
	why := api.Withdrawal{Reason: " wrong table "}

	want(t, h, 404, "POST", path+"/withdraw", ben, why)
	for name, token := range map[string]string{"has not voted": dora, "sees all": sam} {
		if p := decode[api.Problem](t, want(t, h, 403, "POST", path+"/withdraw", token, why)); p.Hint == "" {
			t.Errorf("%s: no hint: %+v", name, p)
		}
	}
	want(t, h, 422, "POST", path+"/withdraw", ada, api.Withdrawal{Reason: strings.Repeat("x", 2001)})
	want(t, h, 422, "POST", path+"/withdraw", ada, api.Withdrawal{Reason: strings.Repeat("€", 1500)})
	want(t, h, 422, "POST", path+"/votes", dora, api.Ballot{Comment: strings.Repeat("€", 1500)})
	want(t, h, 422, "POST", path+"/withdraw", ada, map[string]any{"by": "dora"})
	want(t, h, 404, "POST", "/api/v1/reviews/99/withdraw", ada, why)
	c, csrf := browser(t, h, "ada")
	if resp, _ := ask(t, c, "POST", h.URL+path+"/withdraw", nil, why); resp.StatusCode != http.StatusForbidden {
		t.Errorf("by cookie without the CSRF header: %s", resp.Status)
	}
	if got := decode[api.Review](t, want(t, h, 200, "GET", path, ada, nil)); got.State != doorward.ReviewWaiting {
		t.Fatalf("it is %s after refusals", got.State)
	}
	resp, text := ask(t, c, "POST", h.URL+path+"/withdraw", map[string]string{"X-Doorward-CSRF": csrf}, why)
	if resp.StatusCode != 200 || decode[api.Review](t, text).State != doorward.ReviewDenied {
		t.Fatalf("%s %s", resp.Status, text)
	}
	want(t, h, 409, "POST", path+"/withdraw", ada, why)
	want(t, h, 409, "POST", path+"/votes", dora, api.Ballot{Approve: true})
	got := h.Events(t, doorward.EventReviewVote)
	if len(got) != 1 || got[0].Name != "ada" || got[0].Decision != "withdraw" || got[0].Reason != "wrong table" || got[0].Review != r.ID {
		t.Errorf("events: %+v", got)
	}
}

// A yes that was taken back runs nothing. The body may be left out.
func TestWithdrawAYes(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	_, dora := h.Person(t, "dora")
	r := h.Review(t, agent, "delete from orders where id = 1")
	path := fmt.Sprintf("/api/v1/reviews/%d", r.ID)
	want(t, h, 200, "POST", path+"/votes", dora, api.Ballot{Approve: true})
	after := decode[api.Review](t, want(t, h, 200, "POST", path+"/withdraw", dora, nil))
	if after.State != doorward.ReviewDenied {
		t.Errorf("it is %s", after.State)
	}
	if _, err := h.Reviews.Redeem(t.Context(), r.ID, r.Digest); err == nil {
		t.Error("the approval was used after it was withdrawn")
	}
}

// A withdrawal takes effect even if it cannot be recorded, and says so.
func TestWithdrawWithoutRecord(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	_, ada := h.Person(t, "ada")
	r := h.Review(t, agent, "delete from orders where id = 1")
	if err := h.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/api/v1/reviews/%d", r.ID)
	if p := decode[api.Problem](t, want(t, h, 500, "POST", path+"/withdraw", ada, nil)); !strings.Contains(p.Detail, "is withdrawn") {
		t.Errorf("%+v", p)
	}
	if got := decode[api.Review](t, want(t, h, 200, "GET", path, ada, nil)); got.State != doorward.ReviewDenied {
		t.Errorf("it is %s", got.State)
	}
}

func TestEndAccess(t *testing.T) {
	h := apitest.Start(t, nil)
	_, agent := h.Agent(t, "ada")
	id, ada := h.Person(t, "ada")
	_, ben := h.Person(t, "ben")
	_, sam := h.Person(t, "sam")
	page, _ := browser(t, h, "ada")
	_, ended := stream(t, h, ada)
	const path = "/api/v1/access/end"
	end := api.AccessEnd{Subject: id.Subject, Reason: " laptop stolen "}

	for _, token := range []string{ada, ben} { // not even one's own
		if p := decode[api.Problem](t, want(t, h, 403, "POST", path, token, end)); !strings.Contains(p.Hint, "identity.admins") {
			t.Errorf("%+v", p)
		}
	}
	want(t, h, 403, "POST", path, agent, end)
	for _, wrong := range []api.AccessEnd{
		{Subject: "ada", Reason: "x"}, {Subject: "local:", Reason: "x"}, {Subject: "corp:ada", Reason: "x"}, {Subject: "local:" + strings.Repeat("€", 500), Reason: "x"},
		{Reason: "x"}, {Subject: id.Subject}, {Subject: id.Subject, Reason: "  "}, {Subject: id.Subject, Reason: strings.Repeat("€", 1500)},
	} {
		want(t, h, 422, "POST", path, sam, wrong)
	}
	want(t, h, 200, "GET", "/api/v1/me", ada, nil)
	if got := h.Events(t, doorward.EventRevoked); len(got) != 0 {
		t.Errorf("refusals were recorded as ends: %+v", got)
	}

	want(t, h, 204, "POST", path, sam, end)
	for name, token := range map[string]string{"token": ada, "agent": agent} {
		if resp, _ := ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/me", bearer(token), nil); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	if resp, _ := ask(t, page, "GET", h.URL+"/api/v1/me", nil, nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the console session: %s", resp.Status)
	}
	<-ended // the stream of events
	want(t, h, 200, "GET", "/api/v1/me", ben, nil)
	want(t, h, 200, "GET", "/api/v1/me", sam, nil)
	got := h.Events(t, doorward.EventRevoked)
	if len(got) != 1 || got[0].Name != "sam" || got[0].Reason != "laptop stolen" || got[0].Fields["what"] != id.Subject {
		t.Errorf("events: %+v", got)
	}
	_, again := h.Person(t, "ada") // it keeps nobody out
	want(t, h, 200, "GET", "/api/v1/me", again, nil)
}

// An end that cannot be recorded takes effect, and the answer does not say
// that nothing was changed.
func TestEndAccessWithoutRecord(t *testing.T) {
	h := apitest.Start(t, nil)
	id, ada := h.Person(t, "ada")
	_, sam := h.Person(t, "sam")
	if err := h.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	p := decode[api.Problem](t, want(t, h, 500, "POST", "/api/v1/access/end", sam, api.AccessEnd{Subject: id.Subject, Reason: "x"}))
	if !strings.Contains(p.Hint, "Ask again") {
		t.Errorf("%+v", p)
	}
	want(t, h, 401, "GET", "/api/v1/me", ada, nil)
}
