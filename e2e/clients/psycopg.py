"""psycopg2 through doorward: what a Python program does in a day."""
import sys
import psycopg2
import psycopg2.extras

c = psycopg2.connect("")  # all from PG* variables
cur = c.cursor(cursor_factory=psycopg2.extras.DictCursor)
cur.execute("SELECT id, name, email FROM customers WHERE id = %s", (7,))
row = cur.fetchone()
assert row["name"] == "Customer 7", row
assert "person7" not in row["email"], row
c.commit()

with c:  # a transaction of its own
    named = c.cursor("paging")  # a server-side cursor
    named.itersize = 20
    named.execute("SELECT id FROM orders ORDER BY id")
    assert [r[0] for r in named][:3] == [1, 2, 3]

with open("/dev/null", "w") as sink:
    cur.copy_expert("COPY (SELECT id, email FROM customers) TO STDOUT", sink)
c.commit()

cur.execute("INSERT INTO marks VALUES (%s)", ("psycopg2",))
c.commit()

try:
    cur.execute("DROP TABLE orders")
    sys.exit("DROP TABLE was not refused")
except psycopg2.errors.InsufficientPrivilege as e:
    assert e.diag.message_hint and "migration" in e.diag.message_hint, e.diag.message_hint
c.rollback()

try:
    cur.execute("SELECT upper(email) FROM customers")
    assert "PERSON" not in str(cur.fetchall())
except psycopg2.errors.InsufficientPrivilege:
    pass
c.rollback()
cur.execute("SELECT count(*) FROM orders")
assert cur.fetchone()[0] == 200
c.close()
print("psycopg2 works")
