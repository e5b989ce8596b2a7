// The locks of Curator, one command per line: see interop.rs.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.retry.RetryOneTime;

public class Locks {
    public static void main(String[] args) throws Exception {
        int timeout = (int) (Double.parseDouble(args[1]) * 1000);
        CuratorFramework client =
            CuratorFrameworkFactory.newClient(args[0], timeout, 15000, new RetryOneTime(100));
        client.start();
        client.blockUntilConnected();
        Map<String, InterProcessLock> locks = new HashMap<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ");
            String command = words[0], path = words[1];
            if (command.equals("release")) {
                try {
                    locks.get(path).release();
                    System.out.println("released");
                } catch (IllegalMonitorStateException e) {
                    System.out.println("not owned");
                }
                continue;
            }
            InterProcessLock lock = switch (command) {
                case "read" -> new InterProcessReadWriteLock(client, path).readLock();
                case "write" -> new InterProcessReadWriteLock(client, path).writeLock();
                default -> new InterProcessMutex(client, path);
            };
            locks.put(path, lock);
            boolean waits = command.equals("wait");
            if (waits) System.out.println("waiting");
            // No time at all would be too short to look.
            boolean granted = lock.acquire(waits ? 30000 : 500, TimeUnit.MILLISECONDS);
            System.out.println(granted ? "granted" : "busy");
        }
        client.close();
    }
}
