package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/api/apitest"
)

// One person's huge requests do not push another's off the list, nor make the
// list huge. A review alone is whole.
func TestReviewFlood(t *testing.T) {
	h := apitest.Start(t, nil)
	_, dora := h.Person(t, "dora")
	ben, _ := h.Agent(t, "ben")
	first := h.Review(t, ben, "delete from orders where id = 1")
	ada, _ := h.Agent(t, "ada")
	refused := 0
	for i := range 45 {
		text := fmt.Sprintf("update orders set note = 'x' where id = %d -- %s", i, strings.Repeat("<", 600<<10))
		_, err := h.Reviews.File(t.Context(), doorward.Review{Digest: doorward.Digest("orders-db", ada, text, nil, "", -1), Identity: ada, Target: "orders-db", Statement: text, Reviewers: []doorward.Quorum{{Groups: []string{"dba"}}}})
		if err != nil {
			refused++
		}
	}
	if refused < 40 {
		t.Errorf("%d of 45 reviews of 3.6 MiB were refused", refused)
	}
	text := want(t, h, 200, "GET", "/api/v1/reviews", dora, nil)
	list := decode[[]api.Review](t, text)
	if len(list) < 2 || list[len(list)-1].ID != first.ID || list[len(list)-1].Cut {
		t.Fatalf("%d reviews are listed, the oldest of them is not, or is cut", len(list))
	}
	if len(text) > 64<<10 {
		t.Errorf("the list has %d bytes", len(text))
	}
	if r := list[0]; !r.Cut || len(r.Statement) > 5<<10 {
		t.Errorf("cut: %v, %d bytes", r.Cut, len(r.Statement))
	}
	var one api.Review
	if err := json.Unmarshal([]byte(want(t, h, 200, "GET", fmt.Sprintf("/api/v1/reviews/%d", list[0].ID), dora, nil)), &one); err != nil || one.Cut || len(one.Statement) < 600<<10 {
		t.Errorf("%v, cut: %v, %d bytes", err, one.Cut, len(one.Statement))
	}
}
