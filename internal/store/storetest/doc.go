// Package storetest holds every kind of store to the same contract: a store
// that passes [Run] can take another's place. It must never know which kind
// of store it tests.
package storetest
