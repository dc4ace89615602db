# needs: nginx curl socat
# port: tcp6 8080
server() {
	PATH=$PATH:/usr/sbin:/sbin
	seq 100000 >numbers
	module=/usr/lib/nginx/modules/ngx_stream_module.so
	cat >nginx.conf <<-END
		$(test ! -e $module || echo "load_module $module;")
		worker_processes 2;
		pid $PWD/pid;
		error_log $PWD/error.log;
		daemon off;
		user root;
		events {}
		http {
			access_log off;
			server { listen [::]:8080; root $PWD; }
		}
		stream {
			server { listen [::]:5006 udp; proxy_pass [::1]:5007; proxy_timeout 2s; }
			server { listen [::]:5016 udp reuseport; proxy_pass [::1]:5007; proxy_timeout 2s; }
		}
	END
	socat UDP6-LISTEN:5007,fork EXEC:cat &
	exec nginx -p "$PWD" -c "$PWD/nginx.conf" -e error.log
}
client() {
	curl -gsS "http://[$SERVER]:8080/numbers" | cksum
	curl -gsS -o /dev/null -w '%{http_code}\n' "http://[$SERVER]:8080/none"
	for i in 1 2 3 4; do
		echo "proxied $i" | socat -t1 - "UDP6:[$SERVER]:5006"
		echo "one of several sockets $i" | socat -t1 - "UDP6:[$SERVER]:5016"
	done
}
