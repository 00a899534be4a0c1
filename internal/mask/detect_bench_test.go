package mask

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// denseRows are rows in which most cells hold something to find.
func denseRows(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "%d\tAda Quimby\tada.quimby%d@mail.example\t%03d-%02d-%04d\t+1 212 555 %04d\t4539578763621486\t198.51.%d.%d\t%d Elm Road, Springfield\n",
			r.IntN(1e6), r.IntN(1e4), 100+r.IntN(500), 1+r.IntN(98), 1+r.IntN(9998), r.IntN(1e4), r.IntN(256), r.IntN(256), r.IntN(999))
	}
	return []byte(b.String()[:size])
}

// cleanRows are rows with nothing to find: names, words, identifiers, times.
func cleanRows(size int) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	words := []string{"front desk", "locker", "pending", "Springfield", "shipped by carrier", "returned to the warehouse", "gift wrapping requested", "blue", "large", "invoice sent"}
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "%d\t%s\t%s\t%s\tORD-%d\t%d.%02d\tactive\t%08x-%04x-4%03x-a%03x-%012x\n",
			r.IntN(1e6), words[r.IntN(len(words))], words[r.IntN(len(words))], words[r.IntN(len(words))], r.IntN(1e5), r.IntN(1000), r.IntN(100),
			r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()&(1<<48-1))
	}
	return []byte(b.String()[:size])
}

// plainText is prose without digits.
func plainText(size int) []byte {
	return []byte(strings.Repeat("The customer asked for a refund and was told that the parcel is on its way to the depot. ", size/89+1)[:size])
}

func BenchmarkDetect(b *testing.B) {
	for _, c := range []struct {
		name string
		data []byte
	}{{"dense", denseRows(64 << 10)}, {"clean", cleanRows(64 << 10)}, {"prose", plainText(64 << 10)}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.data)))
			b.ReportAllocs()
			var found []finding
			for b.Loop() {
				found = detect(found[:0], c.data, allKinds, 0)
			}
			b.ReportMetric(float64(len(found)), "found")
		})
	}
}
