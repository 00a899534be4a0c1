package mask

import "encoding/binary"

// Size of the memory for keys: the same few hundred stand in every object.
const (
	keySlots    = 1 << keySlotBits
	keySlotBits = 9
	keyBytes    = 32 // longer keys are looked at each time
)

// keyMemory remembers what keys of a target say of their values.
type keyMemory struct {
	target string
	slots  [keySlots]keySlot
}

// keyMemory gives a memory of the target: that of an answer before, if there is
// one, for small answers are mostly keys that stood in the one before.
func (s *Set) keyMemory(target string) *keyMemory {
	if m, _ := s.keys.pool.Get().(*keyMemory); m != nil && m.target == target {
		return m
	}
	return &keyMemory{target: target}
}

// forget gives the memory back.
func (o *Objects) forget() {
	if o.keys != nil && o.level == 0 {
		o.c.set.keys.pool.Put(o.keys)
		o.keys = nil
	}
}

// keySlot is one key.
type keySlot struct {
	key   [keyBytes]byte
	n     uint8
	clean bool // nothing is detected in it
	level uint8
	hint  hint
}

// slot is where a key is kept. Another key may be there.
func (m *keyMemory) slot(key []byte) *keySlot {
	h := uint64(len(key))
	if len(key) >= 8 {
		h ^= binary.LittleEndian.Uint64(key) ^ binary.LittleEndian.Uint64(key[len(key)-8:])*31
	} else {
		for _, b := range key {
			h = h*31 + uint64(b)
		}
	}
	return &m.slots[h*0x9e3779b97f4a7c15>>(64-keySlotBits)]
}

// names says what a key, or a name that is a value, says of what it names, and
// whether nothing is known to be detected in it.
func (o *Objects) names(key []byte) (h hint, level uint8, slot *keySlot) {
	if len(key) > keyBytes || len(key) == 0 {
		return nameHint(key), uint8(secretName(key)), nil
	}
	if o.keys == nil {
		o.keys = o.c.set.keyMemory(o.c.target)
	}
	slot = o.keys.slot(key)
	if int(slot.n) != len(key) || string(slot.key[:slot.n]) != string(key) {
		*slot = keySlot{n: uint8(len(key)), hint: nameHint(key), level: uint8(secretName(key))}
		copy(slot.key[:], key)
	}
	return slot.hint, slot.level, slot
}

// member takes a key, and gives what takes its place, or nil. Keys are
// searched as values are.
func (o *Objects) member(raw []byte, marks content) []byte {
	f := &o.stack[len(o.stack)-1]
	key := decoded(&o.key, raw, marks)
	f.next = f.placeOf(key)
	if o.paths != nil {
		o.paths.enter(key, false)
	}
	if !o.search || f.next == placeStatic || f.next == placeHeading {
		return nil
	}
	var slot *keySlot
	if f.hint, f.level, slot = o.names(key); slot != nil && slot.clean {
		return nil
	}
	out, hit := o.searched(trim(o.out), key, 0)
	if o.out = out; hit {
		if f.place == placeAny {
			o.distinct(f)
		}
		return o.quote(o.out)
	}
	if slot != nil {
		slot.clean = true
	}
	return nil
}
