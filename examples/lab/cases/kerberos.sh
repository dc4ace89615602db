# needs: krb5kdc kadmin.local kdb5_util kinit kvno
# port: udp6 8800
# context
settings() {
	printf '[libdefaults]\ndefault_realm = LAB\ndns_lookup_kdc = false\nudp_preference_limit = 100000\nrdns = false\n[realms]\nLAB = {\nkdc = [%s]:8800\n}\n' "$SERVER" >krb5.conf
	printf '[realms]\nLAB = {\ndatabase_name = %s/db\nkey_stash_file = %s/stash\nacl_file = %s/acl\nkdc_ports = 8800\nkdc_listen = 8800\nkdc_tcp_listen = ""\n}\n' "$PWD" "$PWD" "$PWD" >kdc.conf
	export KRB5_CONFIG="$PWD/krb5.conf" KRB5_KDC_PROFILE="$PWD/kdc.conf" PATH="$PATH:/usr/sbin"
}
server() {
	settings
	kdb5_util create -s -P master -W >said
	kadmin.local -q 'addprinc -pw secret user' >>said
	kadmin.local -q 'addprinc -randkey host/a.lab' >>said
	exec krb5kdc -n
}
client() {
	settings
	export KRB5CCNAME="$PWD/tickets"
	for i in 1 2 3; do
		echo secret | kinit user && kvno host/a.lab
	done
	echo wrong | kinit user 2>&1
	kvno host/none.lab 2>&1
	klist | awk '/@LAB/ { print $NF }'
}
