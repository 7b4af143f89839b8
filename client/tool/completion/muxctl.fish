# fish completion for muxctl. Commands and options are those that its own --help
# tells, so that they are always the ones of the muxctl that is completed.

function __muxctl_commands --argument-names muxctl
    $muxctl --help 2>/dev/null | string replace -rf '^  ([a-z]+) +(.*)$' '$1\t$2'
    printf 'help\ttell about a command\n'
end

# MUXCTL [COMMAND]: a line of each option: letter, name, value, what it is for; with tabs
function __muxctl_options
    $argv --help 2>/dev/null |
        string replace -rf '^  (-.|  )[, ] (--[a-z-]+)(?: ([A-Z]\S*))?(?: +(.*))?$' '$1\t$2\t$3\t$4'
end

# The name of the option whose value comes after WORD, of the options that follow.
function __muxctl_takes_value --argument-names word
    set -l option
    for letter in (test (string sub -l 2 -- $word) = -- && echo $word || string split '' -- (string sub -s 2 -- $word))
        set -l last (string match -q -- "*$letter" $word && echo yes)
        for line in $argv[2..]
            set -l field (string split \t -- $line)
            if test "$letter" = $field[2]; or test "-$letter" = $field[1]
                test -n "$field[3]"; or break
                test -n "$last"; and echo $field[2]
                return
            end
        end
    end
end

function __muxctl_values --argument-names option cur
    switch $option
        case --socket
            __fish_complete_path $cur
        case --upstream
            $argv[3..] --json status 2>/dev/null | string replace -rf '^ *"name": "(.*)",?$' '$1'
        case --property
            printf '%s=\n' content-type content-encoding delivery-mode priority correlation-id reply-to \
                expiration message-id timestamp type user-id app-id cluster-id
    end
end

function __muxctl_operands --argument-names muxctl command count first
    set -l at $argv[5..]
    set -l synopsis ($muxctl $command --help 2>/dev/null)[1]
    set synopsis (string replace -r '^usage: muxctl \S+ ?' '' -- $synopsis)
    switch "$command-$count-$synopsis"
        case 'help-0-*'
            __muxctl_commands $muxctl
        case '*-0-queue*'
            printf 'queue\nexchange\n'
        case '*-0-SESSION*'
            $at --json sessions 2>/dev/null | string replace -rf '^ *"id": ([0-9]+),?$' '$1'
        case '*-0-LEVEL*'
            printf '%s\n' error warning notice info debug
        case 'declare-2-*'
            test "$first" = exchange; and printf '%s\n' direct fanout topic headers
    end
end

function __muxctl_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l muxctl $words[1]
    set -l options (__muxctl_options $muxctl)
    set -l at $muxctl --timeout 1s
    set -l command
    set -l operands
    set -l option
    for word in $words[2..]
        if test -n "$option"
            test $option = --socket; and set -a at -s $word
            set option
        else if test "$word" = --
            test "$command" = consume; and __fish_complete_subcommand --commandline \
                $words[(math (contains -i -- -- $words) + 1)..] $cur
            return
        else if string match -q -- '-?*' $word
            set option (__muxctl_takes_value $word $options)
        else if test -z "$command"
            set command $word
            set options (__muxctl_options $muxctl $command)
        else
            set -a operands $word
        end
    end
    set -l value (string match -r -- '^(--[a-z-]+)=(.*)$' $cur)
    if test -n "$option"
        __muxctl_values $option "$cur" $at
    else if test -n "$value"
        printf "$value[2]=%s\n" (__muxctl_values $value[2] "$value[3]" $at)
    else if string match -q -- '-*' $cur
        for line in $options
            set -l field (string split \t -- $line)
            string match -q -- '-?' $field[1]; and printf '%s\t%s\n' $field[1] $field[4]
            printf '%s\t%s\n' $field[2] $field[4]
        end
    else if test -z "$command"
        __muxctl_commands $muxctl
    else
        __muxctl_operands $muxctl $command (count $operands) "$operands[1]" $at
    end
end

complete -c muxctl -f -a '(__muxctl_complete)'
