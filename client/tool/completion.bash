# bash completion for muxctl

_muxctl_names()
{
	# Names that muxctl itself can tell; nothing when muxd is not there.
	muxctl --timeout 1s --json status 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",\{0,1\}$/\1/p'
}

_muxctl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i command= words=
	local commands='status sessions channels recorder ping reload drain publish get consume call declare bind unbind delete purge help'
	local common='--socket --upstream --json --timeout --help --version'
	local message='--exchange --routing-key --persistent --content-type --header --property'

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			# What consume runs: as any command line.
			COMPREPLY=($(compgen -c -- "$cur") $(compgen -f -- "$cur"))
			return
			;;
		-s | --socket | --upstream | --timeout) ((i++)) ;;
		-*) ;;
		*)
			: "${command:=${COMP_WORDS[i]}}"
			;;
		esac
	done
	case $prev in
	-s | --socket)
		COMPREPLY=($(compgen -f -- "$cur"))
		return
		;;
	--upstream)
		COMPREPLY=($(compgen -W "$(_muxctl_names)" -- "$cur"))
		return
		;;
	--property)
		compopt -o nospace
		COMPREPLY=($(compgen -S = -W 'content-type content-encoding delivery-mode priority correlation-id
			reply-to expiration message-id timestamp type user-id app-id cluster-id' -- "$cur"))
		return
		;;
	--timeout | -e | --exchange | -r | --routing-key | -t | --content-type | -H | --header | -n | --count | \
		--prefetch | -a | --argument)
		return
		;;
	esac
	case $command in
	'') words="$commands $common" ;;
	publish) words="$common $message --mandatory --lines --null" ;;
	call) words="$common $message" ;;
	get) words="$common --count --requeue --null --raw" ;;
	consume) words="$common --count --prefetch --exclusive --null --raw --" ;;
	declare | bind | unbind | delete)
		words=$common
		[ "$prev" = "$command" ] && words="queue exchange $common"
		case $command in
		declare)
			words+=' --durable --exclusive --auto-delete --internal --passive --argument'
			[ "${COMP_WORDS[COMP_CWORD-2]}" = exchange ] && words+=' direct fanout topic headers'
			;;
		bind | unbind) words+=' --routing-key --argument' ;;
		delete) words+=' --if-unused --if-empty' ;;
		esac
		;;
	help) words=$commands ;;
	*) words=$common ;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

complete -F _muxctl muxctl
