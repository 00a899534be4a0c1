import java.sql.*;
import java.util.Properties;

/** The PostgreSQL JDBC driver through doorward. */
public class Jdbc {
    static void check(boolean ok, String what) {
        if (!ok) throw new IllegalStateException(what);
    }

    public static void main(String[] args) throws Exception {
        Properties p = new Properties();
        p.setProperty("user", "agent");
        p.setProperty("password", System.getenv("PGPASSWORD"));
        p.setProperty("sslmode", "verify-full");
        p.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        try (Connection c = DriverManager.getConnection(url, p)) {
            // Eight times: from the fifth on, the driver uses a named statement and binary results.
            try (PreparedStatement s = c.prepareStatement("SELECT id, name, email FROM customers WHERE id = ?")) {
                for (int i = 1; i <= 8; i++) {
                    s.setInt(1, i);
                    try (ResultSet r = s.executeQuery()) {
                        check(r.next() && r.getString("name").equals("Customer " + i), "row " + i);
                        check(!r.getString("email").contains("person"), "email in the clear: " + r.getString("email"));
                    }
                }
            }
            // A transaction with a fetch size: portals that are suspended and resumed.
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(30);
                int n = 0;
                try (ResultSet r = s.executeQuery("SELECT id FROM orders ORDER BY id")) {
                    while (r.next()) n++;
                }
                check(n == 200, n + " rows by pages");
            }
            c.commit();
            c.setAutoCommit(true);
            // A batch.
            try (PreparedStatement s = c.prepareStatement("INSERT INTO marks VALUES (?)")) {
                for (String id : new String[] {"jdbc-1", "jdbc-2", "jdbc-3"}) {
                    s.setString(1, id);
                    s.addBatch();
                }
                check(s.executeBatch().length == 3, "the batch");
            }
            // What tools ask of the catalog.
            DatabaseMetaData m = c.getMetaData();
            int columns = 0;
            try (ResultSet r = m.getColumns(null, "public", "customers", null)) {
                while (r.next()) columns++;
            }
            check(columns == 5, columns + " columns of customers");
            try (ResultSet r = m.getPrimaryKeys(null, "public", "orders")) {
                check(r.next() && r.getString("COLUMN_NAME").equals("id"), "the primary key of orders");
            }
            try (ResultSet r = m.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"})) {
                int n = 0;
                while (r.next()) n++;
                check(n >= 5, n + " tables and views");
            }
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE orders");
                check(false, "DROP TABLE was not refused");
            } catch (SQLException e) {
                check("42501".equals(e.getSQLState()), "DROP TABLE gave " + e);
            }
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT count(*) FROM orders")) {
                check(r.next() && r.getInt(1) == 200, "the session after a refusal");
            }
        }
        System.out.println("JDBC works");
    }
}
